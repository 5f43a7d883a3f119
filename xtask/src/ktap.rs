// SPDX-License-Identifier: GPL-2.0
//! Reads KTAP, the kernel's test protocol: what kselftests print and what
//! KUnit leaves in the kernel's log.

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail,
    Skip(String),
}

/// One result that is not the sum of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Names from the outermost suite inwards, joined by `/`.
    pub name: String,
    pub verdict: Verdict,
    /// The diagnostic lines before it.
    pub notes: Vec<String>,
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub cases: Vec<Case>,
    /// Plans that were not kept: tests that never reported.
    pub broken: Vec<String>,
    /// The whole was skipped, for this reason.
    pub skipped: Option<String>,
}

/// A level of nesting that is open.
struct Level {
    indent: usize,
    /// The plan `1..N`, and how many results there were.
    plan: Option<usize>,
    seen: usize,
    /// Where in the list the cases of this level begin.
    first: usize,
    name: Option<String>,
}

struct Parsed {
    ok: bool,
    name: String,
    skip: Option<String>,
}

/// Parses `ok 1 name # SKIP reason` and `not ok ...`.
fn result(text: &str) -> Option<Parsed> {
    let (ok, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    let rest = rest.strip_prefix(' ')?.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let rest = rest[digits..].trim_start();
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, directive) = match rest
        .split_once(" # ")
        .or_else(|| rest.strip_prefix("# ").map(|tail| ("", tail)))
    {
        Some((name, directive)) => (name, directive.trim()),
        None => (rest, ""),
    };
    let upper = directive.to_ascii_uppercase();
    let skip = upper
        .starts_with("SKIP")
        .then(|| directive[4..].trim_start_matches([':', ' ']).to_owned());
    // A failure that is expected is no failure.
    let expected = upper.starts_with("XFAIL") || upper.starts_with("TODO");
    Some(Parsed {
        ok: ok || expected,
        name: name.trim().to_owned(),
        skip,
    })
}

/// Parses the lines of one program or log. Lines that are not KTAP are notes
/// of the result that follows them.
pub fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Report {
    let mut report = Report::default();
    let mut levels: Vec<Level> = Vec::new();
    let mut notes: Vec<String> = Vec::new();

    for line in lines {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        if text.starts_with("KTAP version") || text.starts_with("TAP version") {
            open(&mut levels, indent, report.cases.len());
            continue;
        }
        if let Some(name) = text.strip_prefix("# Subtest:") {
            let level = open(&mut levels, indent, report.cases.len());
            level.name = Some(name.trim().to_owned());
            continue;
        }
        if let Some(plan) = text.strip_prefix("1..") {
            let digits = plan.bytes().take_while(u8::is_ascii_digit).count();
            if let Ok(n) = plan[..digits].parse::<usize>() {
                let level = open(&mut levels, indent, report.cases.len());
                level.plan = Some(n);
                if n == 0 {
                    let reason = plan
                        .split_once("SKIP")
                        .map_or("", |(_, reason)| reason.trim());
                    if levels.len() == 1 {
                        report.skipped = Some(reason.to_owned());
                    }
                }
                continue;
            }
        }
        let Some(found) = result(text) else {
            if !text.starts_with("# Totals:") {
                notes.push(text.to_owned());
            }
            continue;
        };

        // Deeper levels end with the result of the suite that holds them.
        let mut children = None;
        while levels.last().is_some_and(|level| level.indent > indent) {
            let level = levels.pop().expect("it is there");
            close(&level, &mut report.broken);
            children = Some(level.first);
        }
        let level = open(&mut levels, indent, report.cases.len());
        level.seen += 1;
        if let Some(first) = children {
            for case in &mut report.cases[first..] {
                case.name = format!("{}/{}", found.name, case.name);
            }
            let told = report.cases[first..]
                .iter()
                .any(|case| case.verdict == Verdict::Fail);
            // A suite can fail on its own account, in its set-up for one.
            if found.ok || told {
                notes.clear();
                continue;
            }
        }
        let verdict = match (found.ok, found.skip) {
            (_, Some(reason)) => Verdict::Skip(reason),
            (true, None) => Verdict::Pass,
            (false, None) => Verdict::Fail,
        };
        report.cases.push(Case {
            name: found.name,
            verdict,
            notes: std::mem::take(&mut notes),
        });
    }
    for level in levels.iter().rev() {
        close(level, &mut report.broken);
    }
    report
}

/// The level of this indent, opened if need be.
fn open(levels: &mut Vec<Level>, indent: usize, first: usize) -> &mut Level {
    let known = levels.iter().any(|level| level.indent == indent);
    if !known {
        levels.push(Level {
            indent,
            plan: None,
            seen: 0,
            first,
            name: None,
        });
    }
    let at = levels
        .iter()
        .position(|level| level.indent == indent)
        .expect("it was just made");
    &mut levels[at]
}

fn close(level: &Level, broken: &mut Vec<String>) {
    if let Some(plan) = level.plan {
        if level.seen < plan {
            let name = level.name.as_deref().unwrap_or("the test");
            broken.push(format!(
                "{name} planned {plan} results and gave {}",
                level.seen
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(report: &Report) -> Vec<(&str, bool)> {
        report
            .cases
            .iter()
            .map(|case| (case.name.as_str(), case.verdict == Verdict::Pass))
            .collect()
    }

    #[test]
    fn flat() {
        let report = parse(
            "KTAP version 1\n1..3\nok 1 one\n# why\nnot ok 2 two\nok 3 three # SKIP no tool\n"
                .lines(),
        );
        assert_eq!(
            names(&report),
            [("one", true), ("two", false), ("three", false)]
        );
        assert_eq!(report.cases[1].notes, ["# why"]);
        assert_eq!(report.cases[2].verdict, Verdict::Skip("no tool".into()));
        assert!(report.broken.is_empty());
    }

    #[test]
    fn nested_suites_count_their_cases_only() {
        let text = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: suite\n    1..2\n    ok 1 a\n    not ok 2 b\nnot ok 1 suite\n";
        let report = parse(text.lines());
        assert_eq!(names(&report), [("suite/a", true), ("suite/b", false)]);
        assert!(report.broken.is_empty());
    }

    #[test]
    fn a_suite_can_fail_alone() {
        let report = parse("    KTAP version 1\n    1..1\n    ok 1 a\nnot ok 1 suite\n".lines());
        assert_eq!(names(&report), [("suite/a", true), ("suite", false)]);
    }

    #[test]
    fn two_suites_in_a_row() {
        let suite = "    KTAP version 1\n    1..1\n    ok 1 a\n";
        let report = parse(format!("KTAP version 1\n1..2\n{suite}ok 1 x\n{suite}ok 2 y\n").lines());
        assert_eq!(names(&report), [("x/a", true), ("y/a", true)]);
    }

    #[test]
    fn missing_results_are_noticed() {
        let report = parse("KTAP version 1\n1..3\nok 1 a\n".lines());
        assert_eq!(report.broken.len(), 1);
    }

    #[test]
    fn a_skipped_whole() {
        let report = parse("KTAP version 1\n1..0 # SKIP no root\n".lines());
        assert_eq!(report.skipped.as_deref(), Some("no root"));
        assert!(report.broken.is_empty());
    }

    #[test]
    fn expected_failures_pass() {
        let report = parse("not ok 1 a # XFAIL known\n".lines());
        assert_eq!(names(&report), [("a", true)]);
    }

    #[test]
    fn prose_is_not_a_result() {
        assert!(parse("ok then\nok: fine\nnot okay 1\n".lines())
            .cases
            .is_empty());
    }
}
