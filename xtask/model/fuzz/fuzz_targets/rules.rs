// SPDX-License-Identifier: GPL-2.0

//! The rule language: `cargo +nightly fuzz run rules` in `xtask/model`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| toe_model::fuzz::rules(data));
