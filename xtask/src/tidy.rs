//! `cargo xtask tidy`: the rules of this repository that no compiler knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::shell::Repository;

/// A file longer than this is not read at a sitting.
const MAX_LINES: usize = 900;

/// Benches that belong to no op.
const OTHER_BENCHES: [&str; 2] = ["dispatch", "training"];

const OP_TABLE: &str = "crates/softurn-kernels/src/ops/mod.rs";

/// What must not stay behind, spelled so that this file does not trip over itself.
const LEFTOVERS: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("dbg", "!("), concat!("to", "do!(")];

/// Hosts of package registries: a build finds them in the user's configuration, not in ours.
const REGISTRIES: [&str; 7] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("pypi", ".org/simple"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("deb.", "debian.org"),
    concat!("archive.", "ubuntu.com"),
];

/// Folders of the workplace that a clone does not have.
const OUTSIDE: [&str; 2] = [concat!("../", "shared"), concat!("/work/", "shared")];

/// Checks the repository and prints what is wrong.
///
/// # Errors
/// When anything is.
pub fn run(repo: &Repository) -> Result<()> {
    let problems = check(&repo.root)?;
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => {
            println!("tidy");
            Ok(())
        }
        1 => bail!("1 problem"),
        n => bail!("{n} problems"),
    }
}

fn check(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    walk(root, Path::new(""), &mut files)?;
    files.sort();
    let mut problems = Vec::new();
    check_ops(root, &files, &mut problems);
    for file in &files {
        let bytes = std::fs::read(root.join(file)).with_context(|| format!("cannot read {}", show(file)))?;
        match String::from_utf8(bytes) {
            Ok(text) => check_text(root, file, &text, &mut problems),
            Err(_) => problems.push(format!("{}: not UTF-8", show(file))),
        }
    }
    Ok(problems)
}

/// The text files below a folder, relative to the root; links are not followed.
fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let full = root.join(folder);
    for entry in std::fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))? {
        let entry = entry?;
        let (path, kind) = (folder.join(entry.file_name()), entry.file_type()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() {
            let hidden = name.starts_with('.') && ![".ci", ".cargo", ".github"].contains(&name.as_str());
            if !hidden && !["target", "runs"].contains(&name.as_str()) {
                walk(root, &path, files)?;
            }
        } else if kind.is_file() {
            let ours = ["rs", "wgsl", "toml", "md", "html", "css", "js", "py", "sh"];
            if ours.contains(&extension(&path)) || path.starts_with(".ci") {
                files.push(path);
            }
        }
    }
    Ok(())
}

/// Every op has its five places, and every place has its op.
fn check_ops(root: &Path, files: &[PathBuf], problems: &mut Vec<String>) {
    let exists = |path: &str| files.iter().any(|file| file == Path::new(path));
    let link = "crates/softurn-kernels/shaders";
    if root.join("shaders").is_dir() && !root.join(link).is_dir() {
        problems.push(format!(
            "{link}: not a link to ../../shaders; run `git config core.symlinks true` and check it out again"
        ));
    }
    let table = std::fs::read_to_string(root.join(OP_TABLE)).unwrap_or_default();
    let table = op_table(&table);
    // Op name, and the place where it was seen.
    let mut ops: BTreeMap<String, String> = BTreeMap::new();
    let mut see = |name: &str, place: String| {
        ops.entry(name.to_owned()).or_insert(place);
    };
    for file in files {
        let parts: Vec<&str> = file.iter().filter_map(|part| part.to_str()).collect();
        match parts[..] {
            ["shaders", name] => {
                if let Some(name) = name.strip_suffix(".wgsl") {
                    see(name, show(file));
                }
            }
            ["crates", "softurn-kernels", "src", "ops", name, _] => see(name, show(file)),
            ["crates", "softurn-autodiff", "src", "ops", name] => {
                if let Some(name) = name.strip_suffix(".rs").filter(|name| *name != "mod") {
                    see(name, show(file));
                }
            }
            ["benches", "benches", name] => {
                if let Some(name) = name.strip_suffix(".rs").filter(|name| !OTHER_BENCHES.contains(name)) {
                    see(name, show(file));
                }
            }
            _ => {}
        }
    }
    for name in table.keys() {
        see(name, format!("a row of {OP_TABLE}"));
    }
    for (name, seen) in ops {
        let mut places = vec![format!("shaders/{name}.wgsl")];
        for file in ["mod", "cpu", "tests"] {
            places.push(format!("crates/softurn-kernels/src/ops/{name}/{file}.rs"));
        }
        if table.get(&name).is_none_or(|differentiable| *differentiable) {
            places.push(format!("crates/softurn-autodiff/src/ops/{name}.rs"));
        }
        places.push(format!("benches/benches/{name}.rs"));
        for place in places.iter().filter(|place| !exists(place)) {
            problems.push(format!("op {name} (seen in {seen}) lacks {place}"));
        }
        if !table.contains_key(&name) {
            problems.push(format!("op {name} (seen in {seen}) lacks its row `name: \"{name}\"` in {OP_TABLE}"));
        }
    }
}

/// The names in the op table, and whether each op is differentiable.
///
/// A row is the struct literal around `name: "NAME"`; names inside a row (its entry points) are not ops.
fn op_table(source: &str) -> BTreeMap<String, bool> {
    let mut rows: Vec<(String, usize, usize)> = Vec::new();
    for (at, field) in source.match_indices("name: \"") {
        let Some(name) = source[at + field.len()..].split('"').next() else { continue };
        let Some((start, end)) = enclosing_braces(source, at) else { continue };
        rows.push((name.to_owned(), start, end));
    }
    let inside = |row: &(String, usize, usize)| rows.iter().any(|other| other.1 < row.1 && row.2 < other.2);
    let row = |row: &(String, usize, usize)| {
        let differentiable = !source[row.1..row.2].contains("differentiable: false");
        (row.0.clone(), differentiable)
    };
    rows.iter().filter(|row| !inside(row)).map(row).collect()
}

fn enclosing_braces(source: &str, at: usize) -> Option<(usize, usize)> {
    let edge = |bytes: &mut dyn Iterator<Item = (usize, u8)>, inner: u8, outer: u8| {
        let mut depth = 0;
        for (i, byte) in bytes {
            if byte == inner {
                depth += 1;
            } else if byte == outer {
                if depth == 0 {
                    return Some(i);
                }
                depth -= 1;
            }
        }
        None
    };
    let bytes = || source.bytes().enumerate();
    let start = edge(&mut bytes().take(at).rev(), b'}', b'{')?;
    let end = edge(&mut bytes().skip(at), b'{', b'}')?;
    Some((start, end))
}

/// Rules for one file.
fn check_text(root: &Path, file: &Path, text: &str, problems: &mut Vec<String>) {
    let mut problem = |line: Option<usize>, what: &str| {
        let place = line.map_or_else(|| show(file), |line| format!("{}:{}", show(file), line + 1));
        problems.push(format!("{place}: {what}"));
    };
    let parts: BTreeSet<&str> = file.iter().filter_map(|part| part.to_str()).collect();
    let (rust, shader) = (extension(file) == "rs", extension(file) == "wgsl");
    let source = rust && parts.contains("src");
    let lines = text.lines().count();
    if (source || shader) && lines > MAX_LINES {
        problem(None, &format!("{lines} lines, more than {MAX_LINES}"));
    }
    let first = text.lines().next().unwrap_or_default();
    if source && !first.starts_with("//!") {
        problem(None, "does not open with a `//!` line that says what it is");
    }
    if shader && !first.starts_with("//") {
        problem(None, "does not open with a comment that gives its formula");
    }
    if !text.is_empty() && !text.ends_with('\n') {
        problem(None, "does not end with a newline");
    }
    let may_look_outside = ["docs", "tests", "tests.rs"].iter().any(|part| parts.contains(part));
    for (i, line) in text.lines().enumerate() {
        if line.contains('\t') {
            problem(Some(i), "a tab");
        }
        if line.ends_with(' ') {
            problem(Some(i), "trailing space");
        }
        for leftover in LEFTOVERS.iter().filter(|leftover| line.contains(**leftover)) {
            problem(Some(i), &format!("{leftover} left behind"));
        }
        for host in REGISTRIES.iter().filter(|host| line.contains(**host)) {
            problem(Some(i), &format!("names the registry {host}"));
        }
        for path in OUTSIDE.iter().filter(|path| !may_look_outside && line.contains(**path)) {
            problem(Some(i), &format!("{path} is no part of the repository"));
        }
        if extension(file) == "md" {
            let folder = root.join(file.parent().unwrap_or(Path::new("")));
            for target in links(line).filter(|target| !folder.join(target).exists()) {
                problem(Some(i), &format!("links to {target}, which does not exist"));
            }
        }
    }
}

/// Relative targets of the Markdown links in a line, without their anchors.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// A path with `/` on every system.
fn show(path: &Path) -> String {
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [&str; 6] = [
        "shaders/softmax.wgsl",
        "crates/softurn-kernels/src/ops/softmax/mod.rs",
        "crates/softurn-kernels/src/ops/softmax/cpu.rs",
        "crates/softurn-kernels/src/ops/softmax/tests.rs",
        "crates/softurn-autodiff/src/ops/softmax.rs",
        "benches/benches/softmax.rs",
    ];

    struct Tree(tempfile::TempDir);

    impl Tree {
        /// A repository with one op.
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for place in PLACES {
                tree.write(place, "//! A file.\n");
            }
            tree.write(
                OP_TABLE,
                "//! Ops.\nconst OPS: &[Op] = &[\n    Op { name: \"softmax\", entries: &[Entry { name: \"forward\" }] },\n];\n",
            );
            std::fs::create_dir_all(tree.0.path().join("crates/softurn-kernels/shaders")).unwrap();
            tree.write("benches/benches/training.rs", "//! No op.\n");
            tree.write("shaders/shared/math.wgsl", "// No op either.\n");
            tree
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn problems(&self) -> Vec<String> {
            check(self.0.path()).unwrap()
        }

        #[track_caller]
        fn complains(&self, about: &str) {
            let problems = self.problems();
            assert!(problems.len() == 1 && problems[0].contains(about), "{problems:?}");
        }
    }

    #[test]
    fn a_whole_tree_is_tidy() {
        assert_eq!(Tree::new().problems(), [""; 0]);
    }

    #[test]
    fn each_of_the_five_places_is_missed() {
        for place in PLACES {
            let tree = Tree::new();
            std::fs::remove_file(tree.0.path().join(place)).unwrap();
            tree.complains(&format!("lacks {place}"));
        }
        let tree = Tree::new();
        tree.write(OP_TABLE, "//! Ops.\n");
        tree.complains("lacks its row `name: \"softmax\"`");
    }

    #[test]
    fn a_place_without_an_op_is_missed_too() {
        for place in ["shaders/sort.wgsl", "crates/softurn-autodiff/src/ops/sort.rs", "benches/benches/sort.rs"] {
            let tree = Tree::new();
            tree.write(place, "//! A file.\n");
            let problems = tree.problems();
            assert_eq!(problems.len(), 6, "{problems:?}");
            assert!(problems.iter().all(|problem| problem.contains("op sort") && problem.contains(place)));
        }
    }

    #[test]
    fn an_op_without_gradient_needs_no_rule() {
        let tree = Tree::new();
        std::fs::remove_file(tree.0.path().join(PLACES[4])).unwrap();
        tree.write(OP_TABLE, "//! Ops.\nOp {\n    name: \"softmax\",\n    differentiable: false,\n}\n");
        assert_eq!(tree.problems(), [""; 0]);
    }

    #[test]
    fn rows_do_not_leak_into_each_other() {
        let table = op_table("[A { name: \"a\", differentiable: false }, A { e: E { name: \"f\" }, name: \"b\" }]");
        assert_eq!(table, BTreeMap::from([("a".to_owned(), false), ("b".to_owned(), true)]));
    }

    #[test]
    fn untidy_files_are_named_with_their_line() {
        let file = "crates/softurn/src/lib.rs";
        for (text, about) in [
            ("fn main() {}\n".to_owned(), "`//!`"),
            ("//! A.".to_owned(), "newline"),
            ("//! A.\n\tx\n".to_owned(), "lib.rs:2: a tab"),
            ("//! A. \n".to_owned(), "lib.rs:1: trailing space"),
            (format!("//! A.\n// {} later\n", LEFTOVERS[0]), "left behind"),
            (format!("//! A.\n{}x);\n", LEFTOVERS[2]), "left behind"),
            (format!("//! https://{}/\n", REGISTRIES[0]), "registry"),
            (format!("//! See {}/data.\n", OUTSIDE[0]), "no part of the repository"),
            ("//! A.\n".repeat(MAX_LINES + 1), "901 lines"),
        ] {
            let tree = Tree::new();
            tree.write(file, &text);
            tree.complains(about);
        }
        let tree = Tree::new();
        tree.write("shaders/shared/math.wgsl", "fn f() {}\n");
        tree.complains("formula");
        tree.write("shaders/shared/math.wgsl", "// f\n");
        tree.write("docs/results.md", &format!("From {}/data.\n", OUTSIDE[0]));
        assert_eq!(tree.problems(), [""; 0]);
    }

    #[test]
    fn links_lead_somewhere() {
        let tree = Tree::new();
        tree.write("docs/numerics.md", "[up](../README.md), [far](https://example.org), [here](#top)\n");
        tree.write("README.md", "[traps](docs/numerics.md#exp) and [shaders](shaders)\n");
        assert_eq!(tree.problems(), [""; 0]);
        tree.write("README.md", "one\n[gone](docs/nothing.md)\n");
        tree.complains("README.md:2: links to docs/nothing.md");
    }
}
