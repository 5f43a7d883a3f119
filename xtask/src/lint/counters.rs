// SPDX-License-Identifier: GPL-2.0
//! `Documentation/networking/toe-counters.rst` against `rust/logic/reason.rs`: each reason
//! has a row, and each row a reason.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use crate::paths;

const REASONS: &str = "rust/logic/reason.rs";
const DOCUMENT: &str = "Documentation/networking/toe-counters.rst";

/// The enumerations, and what their counters begin with.
const KINDS: &[(&str, &str)] = &[
    ("Refusal", "toe_refuse_"),
    ("UploadReason", "toe_upload_"),
    ("SpecialCase", "toe_special_"),
];

pub fn check() -> Result<Vec<String>> {
    let read = |name: &str| {
        fs::read_to_string(paths::repo().join(name)).with_context(|| format!("cannot read {name}"))
    };
    let (reasons, document) = (read(REASONS)?, read(DOCUMENT)?);
    let mut problems = Vec::new();
    for (kind, prefix) in KINDS {
        let known = variants(&reasons, kind);
        anyhow::ensure!(!known.is_empty(), "{REASONS} has no enumeration {kind}");
        let told = rows(&document, prefix);
        for name in known.difference(&told) {
            problems.push(format!("{DOCUMENT}: {prefix}{name} has no row"));
        }
        for name in told.difference(&known) {
            problems.push(format!(
                "{DOCUMENT}: {prefix}{name} is no {kind} of {REASONS}"
            ));
        }
    }
    Ok(problems)
}

/// The names of the variants of an enumeration.
fn variants(text: &str, kind: &str) -> BTreeSet<String> {
    text.lines()
        .skip_while(|line| line.trim() != format!("pub enum {kind} {{"))
        .take_while(|line| line.trim() != "}")
        .filter_map(|line| {
            let (_, name) = line.split_once("= \"")?;
            Some(name.split('"').next()?.to_owned())
        })
        .collect()
}

/// The names in the first column of the tables whose titles have this prefix.
fn rows(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let (mut wanted, mut first) = (false, false);
    for line in text.lines() {
        if let Some(title) = line.strip_prefix(".. list-table::") {
            wanted = title.contains(prefix);
            first = false;
        } else if !line.is_empty() && !line.starts_with(' ') {
            wanted = false;
        } else if line.starts_with("   * - ") {
            first = true;
        } else if line.starts_with("     - ") {
            first = false;
        }
        if wanted && first {
            names.extend(line.split("``").skip(1).step_by(2).map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        let code = "    pub enum Refusal {\n        /// X.\n        Xfrm = \"xfrm\",\n    }\n\
                    pub enum Update {\n        Route = \"route\",\n    }\n";
        assert_eq!(
            variants(code, "Refusal"),
            BTreeSet::from(["xfrm".to_owned()])
        );
        let text = "\
.. list-table:: ``toe_refuse_<name>``
   :widths: 1 1

   * - name
     - meaning
   * - ``a``, ``b``,
       ``c``
     - as ``d``

Then ``e``.

.. list-table:: ``toe_upload_<name>``

   * - ``f``
     - g
";
        let names: Vec<_> = rows(text, "toe_refuse_").into_iter().collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn the_document_is_complete() {
        assert_eq!(check().unwrap(), Vec::<String>::new());
    }
}
