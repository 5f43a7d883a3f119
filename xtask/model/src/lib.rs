// SPDX-License-Identifier: GPL-2.0

//! The module's protocol logic, compiled for the host, and what several of its
//! tests share.

pub mod fuzz;
#[path = "../../../rust/logic/mod.rs"]
pub mod logic;
