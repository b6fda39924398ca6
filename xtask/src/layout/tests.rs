use super::*;

/// A crate in which `a`, `b` and `b::c` are a knot, and `d` and `e` are not.
const FILES: [(&str, &str); 6] = [
    ("lib.rs", "//! [`crate::b`].\n\nmod a;\nmod b;\nmod d;\nmod e;\n\npub use d::Thing;\n"),
    (
        "a.rs",
        "use crate::b::{\n    c::{C, D as E},\n    other,\n};\n\npub(crate) async fn long(\n    one: u8,\n) {\n    \
         let _ = one;\n}\n",
    ),
    (
        "b/mod.rs",
        "mod c;\n\npub(crate) use self::c::C;\n\n#[cfg(test)]\nmod tests {\n    use crate::d::Thing;\n\n    fn f() {\n        \
         f();\n        f();\n        f();\n        f();\n    }\n}\n",
    ),
    ("b/c.rs", "// crate::e::No\npub(crate) struct C;\n\nfn short() {\n    crate::a::long(0);\n}\n"),
    ("d.rs", "#[cfg(test)]\nmod tests;\n\npub struct Thing;\n"),
    ("d/tests.rs", "use crate::a::long;\n"),
];

#[test]
fn a_knot_is_the_modules_that_import_each_other() {
    let mut files: Vec<_> = FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    files.push(("e.rs".to_owned(), "use crate::Thing;\nuse super::b::C;\n".to_owned()));
    let size = measure(&files);
    assert_eq!((size.modules, size.lines), (6, 8 + 10 + 4 + 6 + 2 + 2));
    // `a` names an item of `b` itself, and `b` re-exports what `c` has.
    assert_eq!((size.knot.join(" "), size.knot_lines), ("a b b::c".to_owned(), 10 + 4 + 6));
    assert_eq!(size.file, (10, "a.rs".to_owned()));
    assert_eq!(size.function, (5, "long` in `a.rs".to_owned()));
    assert_eq!(size.row(), "6 | 32 | 62 %, 3 modules | 10: `a.rs` | 5: `long` in `a.rs`");
    assert_eq!(size.over().collect::<Vec<_>>(), ["a knot over 25 %: a b b::c"]);
    files.retain(|(name, _)| name != "a.rs");
    assert!(measure(&files).knot.is_empty(), "without `a`, only `b` imports `b::c`");
}

#[test]
fn what_is_too_long_is_over_a_limit() {
    let long = |lines: usize| format!("fn long() {{\n{}}}\n", "    f();\n".repeat(lines - 2));
    let over = |text: String| measure(&[("lib.rs".to_owned(), text)]).over().collect::<Vec<_>>();
    assert!(over(long(MAX_FUNCTION)).is_empty());
    assert_eq!(over(long(MAX_FUNCTION + 1)), ["a function over 80 lines: `long` in `lib.rs`"]);
    assert!(over("mod a;\n".repeat(MAX_FILE)).is_empty());
    assert_eq!(over("mod a;\n".repeat(MAX_FILE + 1)), ["a file over 600 lines: lib.rs"]);
}
