# SPDX-License-Identifier: GPL-2.0
#
# For people with a kernel tree of their own; `cargo xtask build` does the same
# against a kernel it sets up itself. KDIR is a configured, built kernel tree
# (CONFIG_RUST=y) or a distribution's headers with the Rust parts.
#
# The tools must be those the kernel was built with: RUSTC=, BINDGEN= and LLVM=
# name them where the usual ones are others.

KDIR ?= /lib/modules/$(shell uname -r)/build
RUSTC ?= rustc
BINDGEN ?= bindgen

# What the kernel was configured with.
conf = $(shell sed -n 's/^$(1)="\{0,1\}\([^"]*\)"\{0,1\}$$/\1/p' $(KDIR)/include/config/auto.conf 2>/dev/null)

# A kernel built by clang wants its modules from the same.
ifeq ($(call conf,CONFIG_CC_IS_CLANG),y)
clang := $(shell expr $(call conf,CONFIG_CLANG_VERSION) / 10000)
LLVM ?= $(if $(shell command -v clang-$(clang)),-$(clang),1)
endif

MAKE_MODULE = $(MAKE) -C $(KDIR) M=$(CURDIR) RUSTC=$(RUSTC) BINDGEN=$(BINDGEN) \
	$(if $(LLVM),LLVM=$(LLVM))

.PHONY: modules modules_install clean rust-analyzer check-kdir check-tools
modules: check-kdir check-tools
	$(MAKE_MODULE) modules

modules_install clean: check-kdir
	$(MAKE_MODULE) $@

rust-analyzer: check-kdir check-tools
	$(MAKE_MODULE) rust-analyzer

check-kdir:
	@test -e $(KDIR)/Makefile || { \
		echo "KDIR=$(KDIR) is not a kernel build tree: give one with make KDIR=DIR" >&2; exit 2; }
	@test -e $(KDIR)/include/config/auto.conf || { \
		echo "the kernel in $(KDIR) is not configured: run make there first" >&2; exit 2; }
	@test '$(call conf,CONFIG_RUST)' = y || { \
		echo "the kernel in $(KDIR) was configured without CONFIG_RUST=y: toe needs it" >&2; exit 2; }

check-tools: want = $(call conf,CONFIG_RUSTC_VERSION_TEXT)
check-tools:
	@have=$$($(RUSTC) --version 2>/dev/null); test "$$have" = '$(want)' || { \
		echo "the kernel in $(KDIR) was built by $(want), and $(RUSTC) is $${have:-missing}:" \
			"name the right one with make RUSTC=PATH" >&2; exit 2; }
	@command -v $(BINDGEN) >/dev/null || { \
		echo "$(BINDGEN) is missing: install it (cargo install bindgen-cli) or name it with" \
			"make BINDGEN=PATH" >&2; exit 2; }
