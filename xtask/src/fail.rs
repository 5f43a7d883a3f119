// SPDX-License-Identifier: GPL-2.0
//! How a task ends: what it says and with which exit code.
//!
//! Two kinds of end need more than "it failed": a problem of the set-up or of
//! the command line, which a user can put right (exit code 2, one sentence,
//! no back trace), and an exit code that is handed through from a guest.

use std::fmt;

/// Set-up or usage problem: says what is wrong and what to do about it.
#[derive(Debug)]
pub struct Setup(pub String);

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Setup {}

/// All has been said already: end with this exit code.
#[derive(Debug)]
pub struct Exit(pub i32);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// Exit code of set-up and usage errors.
pub const EXIT_SETUP: i32 = 2;
/// Exit code of a VM whose kernel reported a problem.
pub const EXIT_REPORT: i32 = 120;
/// Exit code of a VM that ended before its command did.
pub const EXIT_DIED: i32 = 121;
/// Exit code of a VM that ran into its time limit: that of timeout(1).
pub const EXIT_TIMEOUT: i32 = 124;

/// Returns a [`Setup`] error, formatted like `bail!`.
#[macro_export]
macro_rules! bail_setup {
    ($($arg:tt)*) => {
        return Err($crate::fail::Setup(format!($($arg)*)).into())
    };
}

/// The exit code that belongs to an error, after printing what there is to say.
pub fn report(error: &anyhow::Error) -> i32 {
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return exit.0;
    }
    if let Some(setup) = error.downcast_ref::<Setup>() {
        eprintln!("error: {setup}");
        return EXIT_SETUP;
    }
    eprintln!("error: {error:#}");
    1
}
