// SPDX-License-Identifier: GPL-2.0

//! The rule language: parsed and evaluated against a tree walked by hand, and
//! whatever a text holds.

use std::fmt::Write;

use proptest::prelude::*;
use toe_model::fuzz;
use toe_model::logic::rules::{
    evaluate, parser, Cgroup, Direction, MatchKey, Node, Rule, MAX_NODES, MAX_RULES,
};
use toe_model::logic::tuple::Tuple;
use toe_model::logic::vlan::Tags;

fn find(path: &str) -> Result<Cgroup, &'static str> {
    let mut cgroup = Cgroup::default();
    cgroup.ids[0] = 1;
    for name in path.split('/').filter(|n| !n.is_empty()) {
        let id = match name {
            "a" => 2,
            "b" => 3,
            _ => return Err("no such cgroup"),
        };
        cgroup.level += 1;
        cgroup.ids[usize::from(cgroup.level)] = 10 * u64::from(cgroup.level) + id;
    }
    Ok(cgroup)
}

/// An expression, and how it is written.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(Leaf),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

#[derive(Clone, Debug)]
enum Leaf {
    Any,
    Active,
    Passive,
    Request,
    Listen(u16),
    Ports(Vec<(u16, u16)>),
    Remote([u8; 4], u8),
    Vlan(u16),
    Mark(u32, u32),
    Cgroup(&'static str),
    Uid(u32, u32),
    Process(&'static str),
    Age(&'static str, u64),
    Bytes(&'static str, u64),
}

fn any_leaf() -> impl Strategy<Value = Leaf> {
    let sign = || prop_oneof![Just("<"), Just("<="), Just(">"), Just(">=")];
    prop_oneof![
        Just(Leaf::Any),
        Just(Leaf::Active),
        Just(Leaf::Passive),
        Just(Leaf::Request),
        (0u16..6).prop_map(Leaf::Listen),
        prop::collection::vec((0u16..6, 0u16..3), 1..4)
            .prop_map(|v| Leaf::Ports(v.into_iter().map(|(lo, n)| (lo, lo + n)).collect())),
        (0u8..4, 0u8..=32).prop_map(|(last, bits)| Leaf::Remote([10, 0, 0, last], bits)),
        (0u16..3).prop_map(Leaf::Vlan),
        (0u32..8, 0u32..8).prop_map(|(value, mask)| Leaf::Mark(value & mask, mask)),
        prop_oneof![Just("/"), Just("/a"), Just("/b"), Just("/a/b")].prop_map(Leaf::Cgroup),
        (0u32..4, 0u32..3).prop_map(|(lo, n)| Leaf::Uid(lo, lo + n)),
        prop_oneof![Just("x"), Just("y")].prop_map(Leaf::Process),
        (sign(), 0u64..4).prop_map(|(s, n)| Leaf::Age(s, n)),
        (sign(), 0u64..4).prop_map(|(s, n)| Leaf::Bytes(s, n)),
    ]
}

fn any_tree() -> impl Strategy<Value = Tree> {
    any_leaf()
        .prop_map(Tree::Leaf)
        .prop_recursive(3, 12, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|t| Tree::Not(Box::new(t))),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| Tree::And(Box::new(a), Box::new(b))),
                (inner.clone(), inner).prop_map(|(a, b)| Tree::Or(Box::new(a), Box::new(b))),
            ]
        })
}

fn any_key() -> impl Strategy<Value = MatchKey> {
    let cgroup = prop_oneof![
        Just(None),
        Just(find("/").ok()),
        Just(find("/a").ok()),
        Just(find("/a/b").ok())
    ];
    let process = prop_oneof![
        Just(None),
        Just(Some("x")),
        Just(Some("y")),
        Just(Some("z"))
    ];
    (
        (0u16..8, 0u16..8, 0u8..4, 0u16..3),
        prop_oneof![
            Just(None),
            Just(Some(Direction::Active)),
            Just(Some(Direction::Passive))
        ],
        any::<bool>(),
        0u32..8,
        prop::option::of(0u32..6),
        process,
        cgroup,
        prop::option::of(0u64..6),
        0u64..6,
    )
        .prop_map(
            |(
                (lport, rport, last, vlan),
                direction,
                request,
                mark,
                uid,
                process,
                cgroup,
                age,
                bytes,
            )| {
                MatchKey {
                    tuple: Tuple {
                        vlan: Tags::of_vlan(vlan),
                        ..Tuple::v4([10, 1, 0, 0], lport, [10, 0, 0, last], rport)
                    },
                    direction,
                    request,
                    mark,
                    uid,
                    process: process.and_then(|p| toe_model::logic::rules::name(p.as_bytes())),
                    cgroup,
                    age_ms: age,
                    bytes,
                    ..MatchKey::default()
                }
            },
        )
}

/// Written with the fewest parentheses: `or` binds least.
fn print(tree: &Tree, out: &mut String, level: u8) {
    let (own, sign, pair) = match tree {
        Tree::Leaf(leaf) => return leaf.print(out),
        Tree::Not(t) => {
            out.push_str("not ");
            return print(t, out, 2);
        }
        Tree::And(a, b) => (1, " and ", (a, b)),
        Tree::Or(a, b) => (0, " or ", (a, b)),
    };
    if own < level {
        out.push_str("(\n ");
    }
    print(pair.0, out, own);
    out.push_str(sign);
    // The right side of the same kind as well: the order of tests is the same.
    print(pair.1, out, own);
    if own < level {
        out.push_str(" )");
    }
}

impl Leaf {
    fn print(&self, out: &mut String) {
        match self {
            Leaf::Any => out.push_str("any"),
            Leaf::Active => out.push_str("active"),
            Leaf::Passive => out.push_str("passive"),
            Leaf::Request => out.push_str("request"),
            Leaf::Listen(port) => write!(out, "listen {port}").unwrap(),
            Leaf::Ports(list) => {
                let list: Vec<_> = list.iter().map(|(lo, hi)| format!("{lo}-{hi}")).collect();
                write!(out, "port {}", list.join(", ")).unwrap();
            }
            Leaf::Remote([a, b, c, d], bits) => {
                write!(out, "remote {a}.{b}.{c}.{d}/{bits}").unwrap()
            }
            Leaf::Vlan(0) => out.push_str("vlan none"),
            Leaf::Vlan(id) => write!(out, "vlan {id}").unwrap(),
            Leaf::Mark(value, mask) => write!(out, "mark {value:#x}/{mask}").unwrap(),
            Leaf::Cgroup(path) => write!(out, "cgroup {path}").unwrap(),
            Leaf::Uid(lo, hi) => write!(out, "uid {lo}-{hi}").unwrap(),
            Leaf::Process(name) => write!(out, "process \"{name}\"").unwrap(),
            Leaf::Age(sign, n) => write!(out, "age {sign} {n}ms").unwrap(),
            Leaf::Bytes(sign, n) => write!(out, "bytes {sign} {n}").unwrap(),
        }
    }

    fn holds(&self, f: &MatchKey) -> Option<bool> {
        let compare = |have: u64, sign: &str, n: u64| match sign {
            "<" => have < n,
            "<=" => have <= n,
            ">" => have > n,
            _ => have >= n,
        };
        let (l, r) = (f.tuple.lport, f.tuple.rport);
        Some(match self {
            Leaf::Any => true,
            Leaf::Active => f.direction? == Direction::Active,
            Leaf::Passive => f.direction? == Direction::Passive,
            Leaf::Request => f.request,
            Leaf::Listen(port) => f.direction? == Direction::Passive && l == *port,
            Leaf::Ports(list) => list
                .iter()
                .any(|(lo, hi)| (*lo..=*hi).contains(&l) || (*lo..=*hi).contains(&r)),
            Leaf::Remote(addr, bits) => {
                let word = |a: &[u8]| u64::from(u32::from_be_bytes(a[..4].try_into().unwrap()));
                let shift = 32 - u32::from(*bits);
                word(addr) >> shift == word(&f.tuple.remote) >> shift
            }
            Leaf::Vlan(id) => f.tuple.vlan.vlan_id() == *id,
            Leaf::Mark(value, mask) => f.mark & mask == *value,
            Leaf::Cgroup(path) => {
                let (have, want) = (f.cgroup?, find(path).unwrap());
                have.level >= want.level
                    && have.ids[..=usize::from(want.level)] == want.ids[..=usize::from(want.level)]
            }
            Leaf::Uid(lo, hi) => (*lo..=*hi).contains(&f.uid?),
            Leaf::Process(name) => {
                f.process? == toe_model::logic::rules::name(name.as_bytes()).unwrap()
            }
            Leaf::Age(sign, n) => compare(f.age_ms?, sign, *n),
            Leaf::Bytes(sign, n) => compare(f.bytes, sign, *n),
        })
    }
}

impl Tree {
    /// Is it known that this is so (or, `not`: that it is not)?
    fn holds(&self, f: &MatchKey, not: bool) -> bool {
        match self {
            // Of two tests the one may be known, and the other not.
            Tree::Leaf(Leaf::Listen(port)) => {
                let passive = Leaf::Passive.holds(f).is_some_and(|v| v != not);
                let other = (f.tuple.lport == *port) != not;
                if not {
                    passive || other
                } else {
                    passive && other
                }
            }
            Tree::Leaf(leaf) => leaf.holds(f).is_some_and(|v| v != not),
            Tree::Not(t) => t.holds(f, !not),
            Tree::And(a, b) if not => a.holds(f, true) || b.holds(f, true),
            Tree::And(a, b) => a.holds(f, false) && b.holds(f, false),
            Tree::Or(a, b) if not => a.holds(f, true) && b.holds(f, true),
            Tree::Or(a, b) => a.holds(f, false) || b.holds(f, false),
        }
    }
}

fn parse(text: &str) -> (Vec<Node>, Vec<Rule>) {
    let mut nodes = vec![Node::EMPTY; MAX_NODES];
    let mut rules = vec![Rule::default(); MAX_RULES];
    let parsed = parser::parse(text, &mut nodes, &mut rules, &mut find)
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    nodes.truncate(parsed.nodes);
    rules.truncate(parsed.rules);
    (nodes, rules)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The program finds the rule that the trees, one after the other, do.
    #[test]
    fn as_the_trees_say(
        trees in prop::collection::vec(any_tree(), 0..6),
        all in prop::collection::vec(any_key(), 1..20),
    ) {
        let mut text = String::new();
        for tree in &trees {
            print(tree, &mut text, 0);
            text.push_str(" => offload\n");
        }
        text.push_str("end\n");
        let (nodes, rules) = parse(&text);
        prop_assert_eq!(rules.len(), trees.len());
        for key in &all {
            let expected = trees.iter().position(|t| t.holds(key, false));
            let got = evaluate(&nodes, key);
            prop_assert_eq!(got.rule.map(usize::from), expected, "{}\n{:?}", text, key);
            // What cannot change, more bytes and age do not change.
            if !got.may_change {
                let later = MatchKey {
                    bytes: key.bytes + 100,
                    age_ms: key.age_ms.map(|ms| ms + 100),
                    ..*key
                };
                let then = evaluate(&nodes, &later).rule;
                prop_assert!(then == got.rule || text.contains('<'), "{}\n{:?}", text, key);
            }
        }
    }

    /// Text cut off, or with a character changed, gives an error with a place in
    /// it, or a program.
    #[test]
    fn damaged_text(tree in any_tree(), at in any::<prop::sample::Index>(), with in any::<char>()) {
        let mut text = String::new();
        print(&tree, &mut text, 0);
        text.push_str(" => offload after_bytes 64k legacy_max 1s\nend\n");
        let at = at.index(text.len());
        fuzz::rules(&text.as_bytes()[..at]);
        let mut changed = text.clone();
        changed.replace_range(at..=at, &with.to_string());
        fuzz::rules(changed.as_bytes());
    }

    #[test]
    fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::rules(&text);
    }

    /// Words of the language in any order.
    #[test]
    fn any_words(words in prop::collection::vec(
        prop_oneof![
            Just("any"), Just("and"), Just("or"), Just("not"), Just("("), Just(")"), Just("=>"),
            Just("offload"), Just("deny"), Just("port"), Just("80"), Just(","), Just("\n"),
            Just("age"), Just(">"), Just("3s"), Just("cgroup"), Just("/a"), Just("end"), Just("!"),
            Just("after_bytes"), Just("64k"), Just("user_buffer"), Just("off"), Just("\\\n"),
        ], 0..40)) {
        fuzz::rules(words.join(" ").as_bytes());
    }
}

/// A text of the greatest length and depth.
#[test]
fn bounds() {
    let mut text = String::new();
    for _ in 0..MAX_RULES {
        text.push_str("((((((((lport 1,2,3,4,5,6,7,8)))))))) => deny\n");
    }
    text.push_str("end\n");
    let (nodes, rules) = parse(&text);
    assert_eq!((nodes.len(), rules.len()), (MAX_NODES, MAX_RULES));
    let mut nodes = vec![Node::EMPTY; MAX_NODES];
    let mut rules = vec![Rule::default(); MAX_RULES];
    let more = text.replacen("lport 1,", "lport 0,1,", 1);
    let error = parser::parse(&more, &mut nodes, &mut rules, &mut find).unwrap_err();
    assert_eq!(error.to_string(), "256:30: too many tests: `)`");
    let many = "any => deny\n".repeat(MAX_RULES + 1) + "end\n";
    let error = parser::parse(&many, &mut nodes, &mut rules, &mut find).unwrap_err();
    assert_eq!(error.to_string(), "257:1: too many rules: `any`");
}

#[test]
fn errors_say_what_was_expected() {
    let mut nodes = vec![Node::EMPTY; 16];
    let mut rules = vec![Rule::default(); 4];
    for (text, says) in [
        (
            "port 80\nport http => deny\nend",
            "1:8: expected `and`, `or` or `=>`, found the end of the line",
        ),
        (
            "any => deny\nport http => deny\nend",
            "2:6: expected a port or a range of ports, found `http`",
        ),
        (
            "any => offload",
            "1:15: expected a rule or `end`, found the end of the text",
        ),
        (
            "any => maybe\nend",
            "1:8: expected `offload` or `deny`, found `maybe`",
        ),
        (
            "any => offload after 5\nend",
            "1:16: expected a setting or the end of the line, found `after`",
        ),
        ("cgroup /x => deny\nend", "1:8: no such cgroup: `/x`"),
        ("tcp => deny\nend", "1:1: expected a test, found `tcp`"),
        ("any = deny\nend", "1:5: unexpected character: `=`"),
        (
            "# ä\nuid ä-3 => deny\nend",
            "2:5: expected a numeric user or a range, found `ä-3`",
        ),
    ] {
        let error = parser::parse(text, &mut nodes, &mut rules, &mut find).unwrap_err();
        assert_eq!(error.to_string(), says);
    }
}
