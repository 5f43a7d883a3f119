// SPDX-License-Identifier: GPL-2.0
//! `Documentation/networking/toe-claims.rst` against the tree: there is a row for each
//! claim, and the files, functions, tests and cases that the rows name exist.
//!
//! Other files do not refer to claims by number.
//!
//! What is in literals is looked for, `path: name` each: in the third cell of a row a
//! function (`name()`) or a type of a file below `rust/`, in the fourth a test.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::paths;

/// The table, below the repository's root.
const TABLE: &str = "Documentation/networking/toe-claims.rst";

/// The sets of claims, and how many there are of each.
const SETS: &[(&str, u32)] = &[("A", 20), ("B", 28), ("C", 56), ("D", 58), ("E", 53)];

/// What the last cell of a row may begin with instead of a test.
const NO_TEST: &[&str] = &["Not shown: ", "Not yet: ", "Cancelled."];

/// Checks the table against `files`, which are those of the repository.
pub fn check(files: &[String]) -> Result<Vec<String>> {
    let repo = paths::repo();
    let text =
        fs::read_to_string(repo.join(TABLE)).with_context(|| format!("cannot read {TABLE}"))?;
    let mut tree = Tree::default();
    let mut found = Vec::new();
    for name in files {
        let relevant = name.starts_with("rust/")
            || name.starts_with("selftests/")
            || name.starts_with("xtask/model/tests/");
        if let Some(text) = relevant
            .then(|| fs::read_to_string(repo.join(name)).ok())
            .flatten()
        {
            tree.files.insert(name.clone(), text);
        }
    }
    for (name, text) in &tree.files {
        found.extend(references(text).into_iter().map(|line| {
            format!("{name}:{line}: refers to a claim by its number, which only {TABLE} does")
        }));
    }
    found.extend(problems(&text, &tree));
    Ok(found)
}

/// The lines in which a text refers to a claim by set and number, or to a row of a table
/// of them, in comments that may be wrapped anywhere.
fn references(text: &str) -> Vec<usize> {
    let lines = text.lines().enumerate();
    let words: Vec<_> = lines
        .flat_map(|(at, line)| line.split_whitespace().map(move |word| (at + 1, word)))
        .map(|(at, word)| (at, word.trim_matches(|c: char| !c.is_alphanumeric())))
        .filter(|(_, word)| !word.is_empty())
        .collect();
    let found = words.windows(3).filter(|three| {
        let [(_, first), (_, second), (_, third)] = three else {
            return false;
        };
        let number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
        match *first {
            "claim" | "claims" => SETS.iter().any(|(set, _)| set == second) && number(third),
            "mission" => matches!(*second, "row" | "rows") && number(third),
            _ => false,
        }
    });
    found.map(|three| three[0].0).collect()
}

fn problems(text: &str, tree: &Tree) -> Vec<String> {
    let rows = rows(text);
    let mut found = Vec::new();
    let mut say = |line: usize, what: String| found.push(format!("{TABLE}:{line}: {what}"));
    let mut expected = SETS
        .iter()
        .flat_map(|(set, count)| (1..=*count).map(move |n| format!("{set} {n}")));
    for row in &rows {
        let claim = row.text(0);
        match expected.next() {
            Some(next) if next == claim => {}
            Some(next) => {
                say(
                    row.line,
                    format!("the row of {claim} is where that of {next} should be"),
                );
                break;
            }
            None => say(row.line, format!("there is no claim {claim}")),
        }
    }
    if rows.len() < SETS.iter().map(|(_, count)| *count as usize).sum() {
        if let Some(next) = expected.next() {
            say(
                rows.last().map_or(1, |row| row.line),
                format!("the row of {next} is missing"),
            );
        }
    }
    for row in &rows {
        let claim = row.text(0);
        if row.cells.len() != 4 || row.text(1).is_empty() {
            say(row.line, format!("{claim}: not four cells, or no subject"));
            continue;
        }
        for (line, name) in row.literals(2) {
            if let Err(what) = tree.place(name) {
                say(line, format!("{claim}: {what}"));
            }
        }
        let mut tests = false;
        for (line, name) in row.literals(3).filter(|(_, name)| name.contains(": ")) {
            tests = true;
            if let Err(what) = tree.test(name) {
                say(line, format!("{claim}: {what}"));
            }
        }
        let said = row.text(3);
        if !tests && !NO_TEST.iter().any(|start| said.starts_with(start)) {
            say(
                row.line,
                format!("{claim}: neither a test nor one of {NO_TEST:?}"),
            );
        }
        if tests && row.literals(2).next().is_none() {
            say(row.line, format!("{claim}: has tests, and is nowhere"));
        }
    }
    found
}

/// A row of a list-table: its cells' lines, each with its number.
struct Row<'t> {
    line: usize,
    cells: Vec<Vec<(usize, &'t str)>>,
}

impl<'t> Row<'t> {
    fn text(&self, cell: usize) -> String {
        let lines = self.cells.get(cell).into_iter().flatten();
        let words: Vec<_> = lines
            .flat_map(|(_, line)| line.split_whitespace())
            .collect();
        words.join(" ")
    }

    /// The literals of a cell. None is longer than a line.
    fn literals<'r>(&'r self, cell: usize) -> impl Iterator<Item = (usize, &'t str)> + 'r {
        let lines = self.cells.get(cell).into_iter().flatten();
        lines.flat_map(|(at, line)| line.split("``").skip(1).step_by(2).map(|name| (*at, name)))
    }
}

/// The rows of all list-tables but their headers.
fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        let (at, cell) = (at + 1, line.trim_start());
        if let Some(first) = cell
            .strip_prefix("* - ")
            .filter(|_| line.starts_with("   "))
        {
            inside = true;
            rows.push(Row {
                line: at,
                cells: vec![vec![(at, first)]],
            });
            continue;
        }
        inside &= line.starts_with("     ");
        let Some(row) = rows.last_mut().filter(|_| inside) else {
            continue;
        };
        if let Some(next) = line.strip_prefix("     -") {
            row.cells.push(vec![(at, next)]);
        } else if let Some(last) = row.cells.last_mut() {
            last.push((at, cell));
        }
    }
    rows.retain(|row| row.text(0) != "claim");
    rows
}

/// The files that rows may name, by path.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    fn file(&self, path: &str) -> Result<&str, String> {
        let text = self.files.get(path).map(String::as_str);
        text.ok_or_else(|| format!("there is no file {path}"))
    }

    /// `dct/rx.rs: finish()`, `dct.rs: Entry`: below `rust/`.
    fn place(&self, literal: &str) -> Result<(), String> {
        let (path, name) = split(literal)?;
        let path = format!("rust/{path}");
        let text = self.file(&path)?;
        let kinds: &[&str] = match name.ends_with("()") {
            true => &["fn"],
            false => &["struct", "enum", "trait", "type"],
        };
        let bare = name.trim_end_matches("()");
        match kinds.iter().any(|kind| defines(text, kind, bare).is_some()) {
            true => Ok(()),
            false => Err(format!("{path} has no {name}")),
        }
    }

    /// `test_x: case`, `logic/seq.rs: order_wraps`, `model/tree.rs: building_agrees`.
    fn test(&self, literal: &str) -> Result<(), String> {
        let (path, name) = split(literal)?;
        let (path, found) = if let Some(model) = path.strip_prefix("model/") {
            self.rust_test(format!("xtask/model/tests/{model}"), name)?
        } else if path.ends_with(".rs") {
            self.rust_test(format!("rust/{path}"), name)?
        } else if let ("test_parity" | "test_short_parity", Some((topic, script))) =
            (path, name.split_once('/'))
        {
            let below = if path == "test_parity" { "" } else { "short/" };
            let path = format!("selftests/parity/{below}{topic}.txt");
            let heads = self
                .file(&path)?
                .lines()
                .filter_map(|l| l.strip_prefix("= "));
            let mut names = heads.filter_map(|head| head.split_whitespace().next());
            let found = names.any(|name| name == script);
            (path, found)
        } else {
            let path = format!("selftests/{path}.sh");
            let script = self.file(&path)?;
            let cases = match runs(script) {
                Some(other) => cases(self.file(&format!("selftests/{other}"))?),
                None => cases(script),
            };
            let found = match name.strip_suffix('*') {
                Some(start) => cases.iter().any(|case| case.starts_with(start)),
                None => cases.contains(&name),
            };
            (path, found)
        };
        match found {
            true => Ok(()),
            false => Err(format!("{path} has no test or case `{name}`")),
        }
    }

    /// The path, and whether the file has that test.
    fn rust_test(&self, path: String, name: &str) -> Result<(String, bool), String> {
        let text = self.file(&path)?;
        let found = defines(text, "fn", name).is_some_and(|at| {
            let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let attributes = text[..line].lines().rev().map(str::trim);
            attributes
                .take_while(|line| line.starts_with("#["))
                .any(|line| line == "#[test]")
        });
        Ok((path, found))
    }
}

fn split(literal: &str) -> Result<(&str, &str), String> {
    let parts = literal.split_once(": ");
    parts.ok_or_else(|| format!("`{literal}` is not `file: name`"))
}

/// Where `kind name` is defined.
fn defines(text: &str, kind: &str, name: &str) -> Option<usize> {
    let wanted = format!("{kind} {name}");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(&wanted).map(|(at, _)| at).find(|at| {
        let line = &text[text[..*at].rfind('\n').map_or(0, |end| end + 1)..*at];
        !line.trim_start().starts_with("//")
            && !line.ends_with(is_word)
            && !text[at + wanted.len()..].starts_with(is_word)
    })
}

/// The script that one runs in its place, for other devices: its cases are that one's.
fn runs(script: &str) -> Option<&str> {
    let (_, name) = script.split_once(" exec \"$(dirname \"$0\")/")?;
    name.split_once('"').map(|(name, _)| name)
}

/// The cases that a script gives to `run`, itself or in the array `cases`.
fn cases(script: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // What ends the list, if we are in one.
    let mut until = None;
    for line in script.lines() {
        let words = if until.is_some() {
            line
        } else if let Some(words) = line.strip_prefix("run ") {
            until = Some('\\');
            words
        } else if let Some((_, words)) = line.split_once("cases=(").or(line.split_once("cases+=("))
        {
            until = Some(')');
            words
        } else {
            continue;
        };
        let words = words.trim_end();
        // A list after `run` goes on behind a backslash, one of an array up to a parenthesis.
        let more = match until {
            Some(')') => !words.ends_with(')'),
            _ => words.ends_with('\\'),
        };
        for (at, part) in words.trim_end_matches(['\\', ')']).split('"').enumerate() {
            match at % 2 {
                1 => found.push(part),
                _ => found.extend(part.split_whitespace()),
            }
        }
        if !more {
            until = None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let files = [
            (
                "rust/dct/rx.rs",
                "// fn gone()\nfn finish(x: u8) {}\npub struct Entry {}\nfn finished() {}\n",
            ),
            (
                "rust/logic/seq.rs",
                "fn helper() {}\n#[test]\nfn order_wraps() {}\n",
            ),
            (
                "xtask/model/tests/tree.rs",
                "    #[test]\n    fn walks(a in 0..1) {}\n    fn no_test() {}\n",
            ),
            (
                "selftests/test_x.sh",
                "t_one() { run me; }\nrun \"one 4\" two \\\n\t\"three 6\"\nrun_not here\n",
            ),
            (
                "selftests/test_y.sh",
                "cases=(\"race a\"\n\t\"race b\")\nmore || cases+=(\"race c\")\nrun \"${cases[@]}\"\n",
            ),
            (
                "selftests/test_other_x.sh",
                "TOE_KIND=other exec \"$(dirname \"$0\")/test_x.sh\"\n",
            ),
            (
                "selftests/parity/basic.txt",
                "# = bulk\n= bulk_write ipv4\npassive\n",
            ),
        ];
        Tree {
            files: files
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into(),
        }
    }

    #[test]
    fn places_are_looked_up() {
        let tree = tree();
        assert_eq!(tree.place("dct/rx.rs: finish()"), Ok(()));
        assert_eq!(tree.place("dct/rx.rs: Entry"), Ok(()));
        for (name, said) in [
            ("dct/rx.rs: gone()", "rust/dct/rx.rs has no gone()"),
            ("dct/rx.rs: fin()", "rust/dct/rx.rs has no fin()"),
            ("dct/rx.rs: finish", "rust/dct/rx.rs has no finish"),
            ("dct/none.rs: finish()", "there is no file rust/dct/none.rs"),
            ("finish()", "`finish()` is not `file: name`"),
        ] {
            assert_eq!(tree.place(name), Err(said.to_owned()));
        }
    }

    #[test]
    fn tests_are_looked_up() {
        let tree = tree();
        for name in [
            "test_x: one 4",
            "test_x: two",
            "test_x: three 6",
            "test_x: three *",
            "test_y: race a",
            "test_y: race b",
            "test_y: race c",
            "test_other_x: one 4",
            "test_parity: basic/bulk_write",
            "logic/seq.rs: order_wraps",
            "model/tree.rs: walks",
        ] {
            assert_eq!(tree.test(name), Ok(()), "{name}");
        }
        for name in [
            "test_x: one",
            "test_x: four *",
            "test_x: me",
            "test_x: here",
            "test_z: one 4",
            "test_other_x: race a",
            "test_parity: basic/bulk",
            "test_parity: loss/bulk_write",
            "logic/seq.rs: helper",
            "model/tree.rs: no_test",
        ] {
            assert!(tree.test(name).is_err(), "{name}");
        }
    }

    #[test]
    fn references_are_found() {
        let text = "//! It (claims\n//! B 18, 20) is\n// a claim: C 4.\n/// (mission\n/// row 5)\n\
                    // claims A is\n// row 5, claim C, mission\n";
        assert_eq!(references(text), [1, 3, 4]);
    }

    /// A table with all claims, whose last two cells are these.
    fn table(place: &str, test: &str) -> String {
        let mut text = "Title with ``literal``.\n\n.. list-table::\n\n   * - claim\n     - subject\n     - where\n     - shown by\n".to_owned();
        for (set, count) in SETS {
            for n in 1..=*count {
                text += &format!("   * - {set} {n}\n     - it does\n       things\n     -{place}\n     - {test}\n");
            }
        }
        text
    }

    #[test]
    fn a_whole_table_is_well() {
        let (tree, place) = (
            tree(),
            " ``dct/rx.rs: finish()``,\n       ``dct/rx.rs: Entry``",
        );
        let shown = table(place, "``test_x: two``. Not shown: what ``sent()`` does.");
        assert_eq!(problems(&shown, &tree), [""; 0]);
        assert_eq!(problems(&table("", "Not yet: failover."), &tree), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let tree = tree();
        let good = table("", "Cancelled.");
        let gone = good.replacen(
            "     -\n     - Cancelled.",
            "     - ``a.rs: f()``\n     - ``test_x: no``",
            1,
        );
        assert_eq!(
            problems(&gone, &tree),
            [
                format!("{TABLE}:12: A 1: there is no file rust/a.rs"),
                format!("{TABLE}:13: A 1: selftests/test_x.sh has no test or case `no`"),
            ]
        );
        let empty = good.replacen("Cancelled.", "It works.", 1);
        assert!(problems(&empty, &tree)[0].starts_with(&format!("{TABLE}:9: A 1: neither a test")));
        let swapped = good.replacen("B 2\n", "B 3\n", 1);
        assert!(
            problems(&swapped, &tree)[0].contains("the row of B 3 is where that of B 2 should be")
        );
        let short = &good[..good.rfind("   * - E 53").unwrap()];
        assert!(problems(short, &tree)[0].ends_with("the row of E 53 is missing"));
        let long = good.clone() + "   * - E 54\n     - more\n     -\n     - Cancelled.\n";
        assert!(problems(&long, &tree)[0].ends_with("there is no claim E 54"));
    }
}
