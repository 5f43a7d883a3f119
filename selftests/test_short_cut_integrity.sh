#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test_integrity.sh with the short cut: every byte, while connections flip.

TOE_SHORT_CUT=auto exec "$(dirname "$0")/test_integrity.sh"
