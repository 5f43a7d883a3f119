// SPDX-License-Identifier: GPL-2.0

//! Error numbers by the names of `errno.h`, as functions: the kernel crate of 7.2
//! names few of them, and has no constant constructor for the others.

#![allow(non_snake_case)]

use kernel::{
    ffi::c_int,
    prelude::*, //
};

use crate::bindings;

macro_rules! errno {
    ($($name:ident)*) => {
        $(
            /// The error of this name.
            #[inline]
            pub(crate) fn $name() -> Error {
                Error::from_errno(-(bindings::$name as c_int))
            }
        )*
    };
}

errno! { EADDRNOTAVAIL ENOBUFS ENOPROTOOPT ENOTCONN EOPNOTSUPP }
