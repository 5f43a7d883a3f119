// SPDX-License-Identifier: GPL-2.0

//! What one decision costs, counted: 100 rules, of which the last is met. The second
//! argument says which: `ports`, one test each, or `mixed`, with all kinds of tests.
//!
//! ```text
//! cargo build --release --example rules
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/rules 0 mixed
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/rules 1000 mixed
//! ```
//!
//! The difference of the two counts is that of 1000 evaluations.

use std::fmt::Write;
use std::hint::black_box;

use toe_model::logic::rules::{
    evaluate, parser, Cgroup, Direction, MatchKey, Node, Rule, MAX_NODES, MAX_RULES,
};
use toe_model::logic::tuple::Tuple;

fn main() {
    let rounds = std::env::args()
        .nth(1)
        .and_then(|n| n.parse::<u32>().ok())
        .expect("the number of evaluations, as the first argument");
    let ports = std::env::args().nth(2).is_some_and(|kind| kind == "ports");
    let mut text = String::new();
    for i in 1..=99 {
        // Four kinds of rules: none is met, and each test decides in some of them.
        let rule = match i % 4 {
            _ if ports => format!("lport {i}"),
            0 => format!("passive and port {i}"),
            1 => format!("remote 10.{i}.0.0/16 or mark {i:#x}/0xff"),
            2 => format!("active and (uid {i} or rport {i},1000-2000)"),
            _ => format!("not (active and local 192.0.2.0/24) and bytes > {i}k"),
        };
        writeln!(text, "{rule} => deny").expect("memory");
    }
    text.push_str("active and remote 2001:db8::/32,198.51.100.0/24 => offload\nend\n");
    let mut nodes = vec![Node::EMPTY; MAX_NODES];
    let mut rules = vec![Rule::default(); MAX_RULES];
    let parsed = parser::parse(
        &text,
        &mut nodes,
        &mut rules,
        &mut |_| Ok(Cgroup::default()),
    )
    .unwrap_or_else(|e| panic!("{e}"));
    nodes.truncate(parsed.nodes);
    let key = MatchKey {
        tuple: Tuple::v4([192, 0, 2, 1], 40_000, [198, 51, 100, 7], 443),
        direction: Some(Direction::Active),
        uid: Some(1000),
        ..MatchKey::default()
    };
    assert_eq!(parsed.rules, 100);
    assert_eq!(evaluate(&nodes, &key).rule, Some(99));
    for _ in 0..rounds {
        black_box(evaluate(black_box(&nodes), black_box(&key)));
    }
    println!(
        "{} rules, {} tests, {} bytes each, {rounds} evaluations",
        parsed.rules,
        parsed.nodes,
        size_of::<Node>()
    );
}
