// SPDX-License-Identifier: GPL-2.0

//! Parser, receive engine and legacy mode: `cargo +nightly fuzz run receive` in
//! `xtask/model`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| toe_model::fuzz::run(data));
