#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test_contention.sh on the second target, whose state is ahead of the socket's while a task
# owns that: the cases in which one does, and the device or the module goes.

TOE_KIND=toe-example TOE_CASES=${TOE_CASES:-owner*} exec "$(dirname "$0")/test_contention.sh"
