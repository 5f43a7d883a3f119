# SPDX-License-Identifier: GPL-2.0
#
# For people with a kernel tree of their own; `cargo xtask build` does the same
# against a kernel it sets up itself. KDIR is a configured, built kernel tree
# (CONFIG_RUST=y) or a distribution's headers with the Rust parts.

KDIR ?= /lib/modules/$(shell uname -r)/build
MAKE_MODULE = $(MAKE) -C $(KDIR) M=$(CURDIR)

.PHONY: modules modules_install clean rust-analyzer check-kdir
modules: check-kdir
	$(MAKE_MODULE) modules

modules_install clean: check-kdir
	$(MAKE_MODULE) $@

rust-analyzer: check-kdir
	$(MAKE_MODULE) rust-analyzer

check-kdir:
	@test -e $(KDIR)/Makefile || { \
		echo "KDIR=$(KDIR) is not a kernel build tree: give one with make KDIR=DIR" >&2; exit 2; }
	@test ! -e $(KDIR)/include/config/auto.conf || \
		grep -q '^CONFIG_RUST=y' $(KDIR)/include/config/auto.conf || { \
		echo "the kernel in $(KDIR) was configured without CONFIG_RUST=y: toe needs it" >&2; exit 2; }
