// SPDX-License-Identifier: GPL-2.0

//! A look-up costs the same whatever the number of entries: from a thousand to what the
//! table may have. Entries are synthetic, their keys those of connections of one server.

use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};

use kernel::{
    alloc::allocator::Kmalloc,
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::{
    barrier,
    Links,
    Node,
    Table, //
};
use crate::{
    logic::tuple::Tuple,
    net::{
        memcg,
        sync::rcu::ReadGuard, //
    }, //
};

/// Numbers of entries. A million take ten seconds and 150 MB: `make TOE_SCALE_TESTS=y`. Debug
/// kernels check each access.
const SIZES: &[u32] = match (cfg!(toe_scale_tests), cfg!(debug_assertions)) {
    (true, _) => &[1_000, 10_000, 100_000, 1_000_000],
    (false, false) => &[1_000, 10_000, 100_000],
    (false, true) => &[1_000, 10_000],
};

/// Look-ups at each size, half of them of keys that are not there.
const LOOKUPS: u32 = 20_000;
/// Times that they are measured: the least counts, as others run beside.
const ROUNDS: u32 = 5;

const SEED: u32 = 0x9e37_79b9;

struct Synthetic {
    links: Links<Synthetic>,
    tuple: Tuple,
}

/// Entries that were looked at.
static VISITED: AtomicU64 = AtomicU64::new(0);

// SAFETY: always the same field, and its offset.
unsafe impl Node for Synthetic {
    const LINKS_OFFSET: usize = core::mem::offset_of!(Synthetic, links);

    type Memory = Kmalloc;

    fn links(&self) -> &Links<Self> {
        VISITED.fetch_add(1, Relaxed);
        &self.links
    }
}

/// Connection `n` of a server: so many ports of each client.
fn tuple(n: u32) -> Tuple {
    let [_, a, b, c] = (n / 28_000 + 1).to_be_bytes();
    let port = (n % 28_000) as u16 + 32_768;
    Tuple::v4([192, 0, 2, 1], 443, [10, a, b, c], port)
}

/// What a look-up costs.
#[derive(Clone, Copy)]
struct Cost {
    /// Entries that are looked at, in hundredths.
    visited: u64,
    /// Time, in ns.
    ns: u64,
}

fn cost(table: &Table<Synthetic>, entries: u32) -> Result<Cost> {
    let mut least = u64::MAX;
    let before = VISITED.load(Relaxed);
    for _ in 0..ROUNDS {
        let start = Instant::<Monotonic>::now();
        let mut found = 0;
        let mut n = 1u32;
        for _ in 0..LOOKUPS / 2 {
            // Steps of a prime number: neighbours in time are none in memory.
            n = n
                .wrapping_add(7_368_787)
                .checked_rem(entries)
                .ok_or(EINVAL)?;
            let guard = ReadGuard::new();
            for key in [tuple(n), tuple(n + entries)] {
                found += u32::from(
                    table
                        .find(&guard, key.hash(SEED), |e| e.tuple == key)
                        .is_some(),
                );
            }
        }
        least = least.min(start.elapsed().as_nanos() as u64);
        if found != LOOKUPS / 2 {
            return Err(ENOENT);
        }
    }
    let visited = VISITED.load(Relaxed) - before;
    Ok(Cost {
        visited: visited * 100 / u64::from(LOOKUPS * ROUNDS),
        ns: least / u64::from(LOOKUPS),
    })
}

fn fill(table: &Table<Synthetic>, from: u32, to: u32) -> Result {
    for n in from..to {
        let tuple = tuple(n);
        let hash = tuple.hash(SEED);
        let make = |id| {
            let links = Links::new(hash, id);
            Ok(Box::new(Synthetic { links, tuple }, memcg::atomic())?)
        };
        // One at a time, as connections come: others may run in between.
        let inserted = table.inserter().insert(hash, |e| e.tuple == tuple, make);
        inserted.map_err(|_| ENOMEM)?;
    }
    Ok(())
}

fn clear(table: &Table<Synthetic>) {
    for index in 0..table.slots() {
        let id = table
            .at(&ReadGuard::new(), index)
            .map(|entry| entry.links.id());
        if let Some(id) = id {
            table.remove(id);
        }
    }
    // The table does not free what is in it.
    barrier();
}

/// Entries that are looked at in the smallest table and at most, in hundredths: with buckets
/// for as many entries as there are, or for the most that may be.
fn visited(sized: bool) -> Result<(u64, u64)> {
    let (mut first, mut most) = (None, 0);
    for &size in SIZES {
        let capacity = if sized { size } else { super::MAX_CAPACITY };
        let table = KBox::pin_init(Table::new(capacity, super::MAX_CAPACITY), GFP_KERNEL)?;
        let filled = fill(&table, 0, size);
        let measured = filled.and_then(|()| cost(&table, size));
        clear(&table);
        let Cost { visited, ns } = measured?;
        pr_info!(
            "table of {capacity}, {size} entries: {}.{:02} entries and {ns} ns per look-up\n",
            visited / 100,
            visited % 100
        );
        first.get_or_insert(visited);
        most = most.max(visited);
    }
    Ok((first.unwrap_or(0), most))
}

#[kernel::macros::kunit_tests(toe_table)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_costs_the_same_in_full_tables_of_all_sizes() -> Result {
        let (first, most) = visited(true)?;
        // One that is found is half of its chain away, one that is not, all of it.
        assert!(first != 0 && most < 200);
        assert!(most <= first * 3);
        Ok(())
    }

    #[test]
    fn a_lookup_costs_the_same_while_the_largest_table_fills() -> Result {
        let (first, most) = visited(false)?;
        assert!(first != 0 && most < 200);
        assert!(most <= first * 3);
        Ok(())
    }
}
