#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test_integrity.sh on the second target, which has state of its own and room for 16 connections.

TOE_KIND=toe-example exec "$(dirname "$0")/test_integrity.sh"
