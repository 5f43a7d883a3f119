// SPDX-License-Identifier: GPL-2.0

//! Printing values of `logic/`, which knows `core::fmt` only.

use kernel::fmt;

/// A value whose text is that of `core::fmt`.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: core::fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}
