// SPDX-License-Identifier: Apache-2.0
//! Reads from one source file which modules it declares and which paths of its own crate it names, outside of tests,
//! comments and texts.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path inside a crate, from its root: `["registry", "client", "Client"]`. The root itself is empty.
pub(crate) type Path = Vec<String>;

/// What a source file says about modules.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Modules in files of their own (`mod name;`).
    pub(crate) declared: BTreeSet<Path>,
    /// What is named by `crate::`, `self::`, `super::` or the name of a declared module, re-exports apart.
    pub(crate) used: BTreeSet<Path>,
    /// Where names come from that `use` brings into a module of this file.
    pub(crate) imported: BTreeMap<Path, Path>,
}

impl Source {
    /// Reads the text of the file that holds `module`.
    pub(crate) fn read(text: &str, module: &[String]) -> Self {
        let tokens = text.parse::<TokenStream>().expect("the file is Rust");
        let mut source = Self::default();
        source.walk(tokens, module);
        // A path that begins with any other name was taken for one below this module.
        let is_ours = |path: &Path| {
            !path.starts_with(module)
                || path.len() == module.len()
                || source.declared.iter().any(|declared| path.starts_with(declared))
        };
        source.used.retain(is_ours);
        source.imported.retain(|_, path| is_ours(path));
        source
    }

    fn walk(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens = tokens.into_iter().collect::<Vec<_>>();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' && is_for_tests(tokens.get(at)) => {
                    at = end_of_item(&tokens, at + 1);
                }
                TokenTree::Ident(word) if word == "mod" => match (tokens.get(at), tokens.get(at + 1)) {
                    (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) => {
                        self.walk(body.stream(), &joined(module, &name.to_string()));
                        at += 2;
                    }
                    (Some(TokenTree::Ident(name)), Some(_)) => {
                        self.declared.insert(joined(module, &name.to_string()));
                        at += 2;
                    }
                    _ => {}
                },
                TokenTree::Ident(word) if word == "use" => {
                    let is_public = at > 1 && is_visibility(&tokens[..at - 1]);
                    for (path, name) in tree(None, module, &tokens, &mut at) {
                        if !is_public || name.is_none() {
                            self.used.insert(path.clone());
                        }
                        if let Some(name) = name {
                            self.imported.insert(joined(module, &name), path);
                        }
                    }
                }
                TokenTree::Ident(_) if is_path(&tokens, at) => {
                    at -= 1;
                    self.used.extend(tree(None, module, &tokens, &mut at).into_iter().map(|(path, _)| path));
                }
                TokenTree::Group(group) if !is_visibility(&tokens[..at]) => self.walk(group.stream(), module),
                _ => {}
            }
        }
    }
}

/// Reads one path or a group of them from `at` on, each with the name that `use` gives to it; `*` has none.
fn tree(
    prefix: Option<Path>,
    module: &[String],
    tokens: &[TokenTree],
    at: &mut usize,
) -> Vec<(Path, Option<String>)> {
    let mut path = prefix;
    loop {
        match tokens.get(*at) {
            Some(TokenTree::Ident(word)) => path = Some(step(path, module, &word.to_string())),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                *at += 1;
                let members = group.stream().into_iter().collect::<Vec<_>>();
                let members = members.split(is_comma).filter(|member| !member.is_empty());
                return members.flat_map(|member| tree(path.clone(), module, member, &mut 0)).collect();
            }
            // `*`, or the `<` of type arguments.
            _ => return path.into_iter().map(|path| (path, None)).collect(),
        }
        *at += 1;
        if !is_path(tokens, *at) {
            break;
        }
        *at += 2;
    }
    let path = path.unwrap_or_default();
    let name = match &tokens.get(*at..*at + 2) {
        Some([TokenTree::Ident(word), TokenTree::Ident(name)]) if word == "as" => Some(name.to_string()),
        _ => path.last().cloned(),
    };
    vec![(path, name)]
}

/// The path that one more segment makes.
fn step(path: Option<Path>, module: &[String], word: &str) -> Path {
    match (path, word) {
        (None, "crate") => Path::new(),
        (None, "self") => module.to_owned(),
        (None, "super") => parent(module).to_owned(),
        // A child, or something that is not of this crate, such as `std::path`.
        (None, name) => joined(module, name),
        (Some(path), "self") => path,
        (Some(path), "super") => parent(&path).to_owned(),
        (Some(path), name) => joined(&path, name),
    }
}

/// The module around a module.
pub(crate) fn parent(module: &[String]) -> &[String] {
    module.split_last().map_or(module, |(_, parent)| parent)
}

fn joined(module: &[String], name: &str) -> Path {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// Whether `::` is here.
fn is_path(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon = |at| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    is_colon(at) && is_colon(at + 1)
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',')
}

/// Whether this is the group of `#[cfg(test)]`.
fn is_for_tests(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Whether these end with `pub` or `pub(...)`, which may name a module without using it.
fn is_visibility(tokens: &[TokenTree]) -> bool {
    let is_pub = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word == "pub");
    match tokens {
        [.., word, TokenTree::Group(group)] => group.delimiter() == Delimiter::Parenthesis && is_pub(word),
        [.., word] => is_pub(word),
        [] => false,
    }
}

/// The position after an item, a field, a variant or a statement that begins here.
fn end_of_item(tokens: &[TokenTree], mut at: usize) -> usize {
    let (mut angles, mut before) = (0, ' ');
    while let Some(token) = tokens.get(at) {
        at += 1;
        let mut mark = ' ';
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return at,
            TokenTree::Punct(punct) => {
                mark = punct.as_char();
                match mark {
                    ';' => return at,
                    ',' if angles == 0 => return at,
                    '<' => angles += 1,
                    '>' if before != '-' && before != '=' => angles -= 1,
                    _ => {}
                }
            }
            _ => {}
        }
        before = mark;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Source {
        Source::read(text, &["registry", "client"].map(str::to_owned))
    }

    fn used(text: &str) -> Vec<String> {
        read(text).used.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn every_way_of_naming_a_module_is_found() {
        let text = r#"
            use crate::{digest::Digest, bundle::{self, Reader, write::*}, set as other};
            use super::{tls, auth::{Token, super::retry}};
            use std::path::Path;
            mod child;
            macro_rules! m { () => { $crate::inside::a_macro() } }
            fn f(x: crate::arguments::X) -> Vec<crate::answers::Y> {
                println!("{}", crate::plan::<u8>::go());
                if x < 3 { super::super::oci::parse() }
                child::run(self.field.crate_name, fs::read(), Self::new());
                self::child::other();
            }
            #[serde(with = "crate::text")]
            #[cfg(any(test, feature = "fuzzing"))]
            mod inner { use super::near; use super::super::far; }
        "#;
        let expected = [
            "answers::Y",
            "arguments::X",
            "bundle",
            "bundle::Reader",
            "bundle::write",
            "digest::Digest",
            "inside::a_macro",
            "oci::parse",
            "plan",
            "registry::auth::Token",
            "registry::client::child::other",
            "registry::client::child::run",
            "registry::far",
            "registry::retry",
            "registry::tls",
            "set",
        ];
        assert_eq!(used(text), expected);
    }

    #[test]
    fn tests_comments_texts_and_visibility_use_nothing() {
        let text = r#"
            //! [`crate::a`]
            /// [`super::b`]
            // use crate::c;
            /* use crate::d; */
            pub(in crate::e) fn f() -> &'static str { "crate::f" }
            #[cfg(test)] use crate::g;
            #[cfg(test)] use crate::{h, i};
            #[cfg(test)] #[allow(unused)] fn g<A, B>(a: crate::j) -> crate::k { crate::l() }
            struct S { #[cfg(test)] field: HashMap<crate::m, crate::n>, other: u8 }
            #[cfg(test)] mod tests { use crate::o; }
            #[cfg(test)] #[path = "x_tests.rs"] mod tests;
            fn h(x: impl Fn() + use<'_>) { std::path::crate_name::super_::x() }
        "#;
        assert_eq!(used(text), Vec::<String>::new());
        assert_eq!(read(text).declared, BTreeSet::new());
        // Code after tests is read.
        assert_eq!(used("#[cfg(test)] mod tests { } use crate::after;"), ["after"]);
        assert_eq!(used("#[cfg(test)] fn f() {} fn g() { crate::after() }"), ["after"]);
        assert_eq!(used("struct S { #[cfg(test)] a: u8, b: crate::after }"), ["after"]);
    }

    #[test]
    fn imports_have_names_and_those_for_others_use_nothing() {
        let text = "mod a; pub use self::a::A; pub(crate) use a::{self as b, B}; use crate::c::C as D; pub use crate::e::*;";
        let source = read(text);
        let imported = source.imported.iter().map(|(name, path)| format!("{} {}", name[2], path.join("::")));
        let expected =
            ["A registry::client::a::A", "B registry::client::a::B", "D c::C", "b registry::client::a"];
        assert_eq!(imported.collect::<Vec<_>>(), expected);
        assert_eq!(used(text), ["c::C", "e"]);
    }

    #[test]
    fn modules_in_files_of_their_own_are_found() {
        let text = "mod a; pub(crate) mod b; #[cfg(test)] mod tests; mod inner { mod c; } fn f() { let module = 1; }";
        let declared = read(text).declared.iter().map(|path| path.join("::")).collect::<Vec<_>>();
        assert_eq!(declared, ["registry::client::a", "registry::client::b", "registry::client::inner::c"]);
    }
}
