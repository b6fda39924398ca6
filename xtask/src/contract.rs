//! `docs/contract.md`: the WIT package as a readable page, made from `wit/`.
//!
//! `guest-sdk/js/wit` gets a copy of the package, since npm packs no symbolic links. `guest-sdk/c/bindings` gets the
//! output of `c_bindings`. Every item must be documented; an undocumented item is an error that names it.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};
use wit_parser::{
    Docs, Function, FunctionKind, Handle, Interface, InterfaceId, Resolve, Type, TypeDefKind, TypeId, World, WorldItem,
};

use crate::c_bindings;
use crate::tree::{Tree, generated};

/// Writes the page, or with `check` tells whether the written page is current.
pub fn run(tree: &Tree, check: bool) -> Result<()> {
    let path = tree.root.join("docs/contract.md");
    let page = render(tree)?;
    let source = tree.root.join("wit/handler.wit");
    let package = fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let mut files = vec![(path, page), (tree.root.join("guest-sdk/js/wit/handler.wit"), package)];
    files.extend(c_bindings::files(tree)?);
    for (path, text) in files {
        generated(&path, &text, check, "cargo xtask contract")?;
    }
    Ok(())
}

fn render(tree: &Tree) -> Result<String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(tree.root.join("wit")).context("wit/ does not parse")?;
    let package = &resolve.packages[package];
    let mut page = Page { resolve: &resolve, text: String::new() };
    writeln!(page.text, "# {}\n", package.name)?;
    writeln!(page.text, "Made from [wit/handler.wit](../wit/handler.wit) by `cargo xtask contract`.\n")?;
    page.docs(&package.docs, "the package", "")?;
    for (name, world) in &package.worlds {
        page.world(name, &resolve.worlds[*world])?;
    }
    for (name, interface) in &package.interfaces {
        page.interface(name, &resolve.interfaces[*interface])?;
    }
    Ok(page.text)
}

struct Page<'r> {
    resolve: &'r Resolve,
    text: String,
}

impl Page<'_> {
    fn world(&mut self, name: &str, world: &World) -> Result<()> {
        writeln!(self.text, "## World `{name}`\n")?;
        self.docs(&world.docs, name, "")?;
        for (verb, items) in [("imports", &world.imports), ("exports", &world.exports)] {
            for item in items.values() {
                if let WorldItem::Interface { id, .. } = item {
                    let name = self.interface_name(*id)?.to_owned();
                    writeln!(self.text, "- {verb} [`{name}`](#interface-{name})")?;
                }
            }
        }
        self.text.push('\n');
        Ok(())
    }

    fn interface(&mut self, name: &str, interface: &Interface) -> Result<()> {
        writeln!(self.text, "## Interface `{name}`\n")?;
        self.docs(&interface.docs, name, "")?;
        for (type_name, id) in &interface.types {
            self.type_definition(type_name, *id, interface)?;
        }
        let free = |function: &&Function| matches!(function.kind, FunctionKind::Freestanding);
        for function in interface.functions.values().filter(free) {
            self.function(&function.name, function)?;
        }
        Ok(())
    }

    fn type_definition(&mut self, name: &str, id: TypeId, interface: &Interface) -> Result<()> {
        let definition = &self.resolve.types[id];
        let kind = match &definition.kind {
            // `use` of a type from another interface.
            TypeDefKind::Type(Type::Id(_)) => return Ok(()),
            kind => kind.as_str(),
        };
        writeln!(self.text, "### {kind} `{name}`\n")?;
        self.docs(&definition.docs, name, "")?;
        match &definition.kind {
            TypeDefKind::Record(record) => {
                for field in &record.fields {
                    let ty = self.ty(&field.ty)?;
                    self.item(&format!("{}: {ty}", field.name), &field.docs)?;
                }
            }
            TypeDefKind::Variant(variant) => {
                for case in &variant.cases {
                    let payload = case.ty.as_ref().map(|ty| self.ty(ty)).transpose()?;
                    let payload = payload.map(|ty| format!("({ty})")).unwrap_or_default();
                    self.item(&format!("{}{payload}", case.name), &case.docs)?;
                }
            }
            TypeDefKind::Enum(cases) => {
                for case in &cases.cases {
                    self.item(&case.name, &case.docs)?;
                }
            }
            TypeDefKind::Resource => {
                for function in interface.functions.values().filter(|function| function.kind.resource() == Some(id)) {
                    let method = function.item_name();
                    self.function(&format!("{name}.{method}"), function)?;
                }
            }
            other => {
                let ty = self.shape(other)?;
                writeln!(self.text, "`{ty}`\n")?;
            }
        }
        self.text.push('\n');
        Ok(())
    }

    fn function(&mut self, name: &str, function: &Function) -> Result<()> {
        let is_method = matches!(function.kind, FunctionKind::Method(_));
        let params = function.params.iter().skip(usize::from(is_method));
        let params =
            params.map(|param| Ok(format!("{}: {}", param.name, self.ty(&param.ty)?))).collect::<Result<Vec<_>>>()?;
        let result = function.result.as_ref().map(|ty| self.ty(ty)).transpose()?;
        let result = result.map(|ty| format!(" -> {ty}")).unwrap_or_default();
        writeln!(self.text, "#### `{name}({}){result}`\n", params.join(", "))?;
        self.docs(&function.docs, name, "")
    }

    fn item(&mut self, signature: &str, docs: &Docs) -> Result<()> {
        writeln!(self.text, "- `{signature}`")?;
        self.docs(docs, signature, "  ")?;
        // The blank line of a paragraph would make a loose list.
        if self.text.ends_with("\n\n") {
            self.text.pop();
        }
        Ok(())
    }

    fn docs(&mut self, docs: &Docs, of: &str, indent: &str) -> Result<()> {
        let Some(contents) = &docs.contents else { bail!("{of} has no documentation in wit/") };
        for line in contents.trim().lines() {
            writeln!(self.text, "{indent}{}", line.trim())?;
        }
        self.text.push('\n');
        Ok(())
    }

    fn ty(&self, ty: &Type) -> Result<String> {
        Ok(match ty {
            Type::Id(id) => {
                let definition = &self.resolve.types[*id];
                match &definition.name {
                    Some(name) => name.clone(),
                    None => self.shape(&definition.kind)?,
                }
            }
            Type::Bool => "bool".into(),
            Type::U8 => "u8".into(),
            Type::U16 => "u16".into(),
            Type::U32 => "u32".into(),
            Type::S64 => "s64".into(),
            Type::U64 => "u64".into(),
            Type::F64 => "f64".into(),
            Type::String => "string".into(),
            other => bail!("the contract uses {other:?}, which this page cannot show"),
        })
    }

    fn shape(&self, kind: &TypeDefKind) -> Result<String> {
        let optional = |ty: &Option<Type>| ty.as_ref().map_or(Ok("_".to_owned()), |ty| self.ty(ty));
        Ok(match kind {
            TypeDefKind::Option(ty) => format!("option<{}>", self.ty(ty)?),
            TypeDefKind::List(ty) => format!("list<{}>", self.ty(ty)?),
            TypeDefKind::Result(result) => format!("result<{}, {}>", optional(&result.ok)?, optional(&result.err)?),
            TypeDefKind::Tuple(tuple) => {
                let types = tuple.types.iter().map(|ty| self.ty(ty)).collect::<Result<Vec<_>>>()?;
                format!("tuple<{}>", types.join(", "))
            }
            TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", self.ty(&Type::Id(*id))?),
            TypeDefKind::Handle(Handle::Own(id)) => self.ty(&Type::Id(*id))?,
            TypeDefKind::Type(ty) => self.ty(ty)?,
            other => bail!("the contract uses a {}, which this page cannot show", other.as_str()),
        })
    }

    fn interface_name(&self, id: InterfaceId) -> Result<&str> {
        self.resolve.interfaces[id].name.as_deref().context("an interface of a world has no name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_page_is_current() {
        run(&Tree::find().unwrap(), true).unwrap();
    }
}
