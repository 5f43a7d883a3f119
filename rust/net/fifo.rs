// SPDX-License-Identifier: GPL-2.0

//! A first-in, first-out list that grows in any context: each item has memory of its own,
//! because one piece for all would be too large to allocate there.

use kernel::prelude::*;

use super::memcg;

struct Node<T> {
    item: T,
    next: Option<KBox<Node<T>>>,
}

/// Items in the order in which they were added.
pub(crate) struct Fifo<T> {
    /// The last one that was added first.
    last: Option<KBox<Node<T>>>,
    len: usize,
}

/// An item with its memory, which can be added without failing.
pub(crate) struct Queued<T>(KBox<Node<T>>);

impl<T> Queued<T> {
    /// Any context.
    pub(crate) fn new(item: T) -> Result<Self> {
        let node = Node { item, next: None };
        Ok(Queued(KBox::new(node, memcg::atomic())?))
    }

    /// The item.
    pub(crate) fn get(&self) -> &T {
        &self.0.item
    }

    /// The item, to be changed.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.0.item
    }
}

impl<T> Fifo<T> {
    /// Without an item.
    pub(crate) const fn new() -> Self {
        Fifo { last: None, len: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends an item.
    pub(crate) fn push(&mut self, item: Queued<T>) {
        let mut node = item.0;
        node.next = self.last.take();
        self.last = Some(node);
        self.len += 1;
    }

    fn pop_last(&mut self) -> Option<Queued<T>> {
        let mut node = self.last.take()?;
        self.last = node.next.take();
        self.len -= 1;
        Some(Queued(node))
    }

    /// Takes all of them out, the first one first.
    pub(crate) fn take(&mut self) -> Taken<T> {
        let mut list = core::mem::replace(self, Fifo::new());
        let mut turned = Fifo::new();
        while let Some(item) = list.pop_last() {
            turned.push(item);
        }
        Taken(turned)
    }
}

impl<T> Drop for Fifo<T> {
    fn drop(&mut self) {
        // One after the other: each has the next one in it.
        while self.pop_last().is_some() {}
    }
}

/// Items that were taken out.
pub(crate) struct Taken<T>(Fifo<T>);

impl<T> Iterator for Taken<T> {
    type Item = Queued<T>;

    fn next(&mut self) -> Option<Queued<T>> {
        self.0.pop_last()
    }
}
