//! Lists, and tables whose keys are names.

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::text::Text;
use crate::decode::{Context, Decode, Place};
use crate::keys;

impl<T: Decode> Decode for Vec<Spanned<T>> {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let element = place.element();
        match value.get_ref() {
            DeValue::Array(items) => {
                let decode = |item: &Spanned<DeValue<'_>>| {
                    // A table in a list is a section of its own; other elements are named by the list's key.
                    let place = if item.get_ref().is_table() { &element } else { place };
                    T::decode(item, place, context).map(|decoded| Spanned::new(item.span(), decoded))
                };
                // Every element is decoded, and the list counts as failed if one of them fails.
                let decoded: Vec<Option<Spanned<T>>> = items.iter().map(decode).collect();
                decoded.into_iter().collect()
            }
            DeValue::Table(_) => {
                let section = place.section();
                context.report(
                    value.span(),
                    format!("[{section}] is one section, where a list of them is expected"),
                    format!("write [[{section}]]"),
                );
                None
            }
            _ => {
                context.wrong_type(value, place, &format!("{}, in brackets", Self::kind()));
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator) })
    }

    fn kind() -> String {
        match T::kind() {
            kind if kind == "a section" => "a list of sections".to_owned(),
            kind => format!("a list; each element is {kind}"),
        }
    }

    fn tables(tables: &mut Vec<keys::Table>) {
        T::tables(tables);
    }
}

/// A table whose keys are names: `[component.NAME]`, or values by their key.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    /// The entries that decoded, in the order of the file.
    pub(crate) entries: Vec<(Spanned<K>, Spanned<V>)>,
    /// The keys of all entries, including those that did not decode, which are not missing.
    pub(crate) names: Vec<String>,
}

impl<K: Text, V: Decode> Decode for Table<K, V> {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let table = context.table(value, place)?;
        let inside = place.enter();
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            let place = inside.key(name);
            let parsed = K::parse(name).map_err(|fault| {
                context.report(key.span(), format!("the name `{name}` in {inside} {}", fault.what), fault.fix)
            });
            let decoded = V::decode(value, &place, context);
            if let (Ok(parsed), Some(decoded)) = (parsed, decoded) {
                entries.push((Spanned::new(key.span(), parsed), Spanned::new(value.span(), decoded)));
            }
        }
        // The parser's map may have another order than the file.
        entries.sort_by_key(|(key, _)| key.span().start);
        Some(Self { entries, names: table.keys().map(|key| key.get_ref().to_string()).collect() })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": V::schema(generator) })
    }

    fn kind() -> String {
        match V::kind() {
            kind if kind == "a section" => "sections by name".to_owned(),
            kind => format!("a table; each value is {kind}"),
        }
    }

    fn tables(tables: &mut Vec<keys::Table>) {
        V::tables(tables);
    }
}
