// SPDX-License-Identifier: GPL-2.0

//! The module's protocol logic, compiled for the host.

#[path = "../../../rust/logic/mod.rs"]
pub mod logic;
