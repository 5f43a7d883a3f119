// SPDX-License-Identifier: GPL-2.0
use std::path::PathBuf;
pub struct Kernel { pub build: PathBuf, pub image: PathBuf, pub modules: Option<PathBuf>, pub release: String }
