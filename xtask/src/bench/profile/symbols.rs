// SPDX-License-Identifier: GPL-2.0
//! Which function an address of the guest belongs to.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::paths;

/// The first address that is the kernel's.
const KERNEL: u64 = 1 << 47;

/// A function of the kernel or of a module.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Symbol {
    address: u64,
    pub name: String,
    /// Whether it is in the module that is measured.
    pub measured: bool,
}

impl Symbol {
    /// Returns whether the address is where the function begins.
    pub fn begins_at(&self, address: u64) -> bool {
        self.address == address
    }
}

/// What an address belongs to.
#[derive(PartialEq, Debug)]
pub enum Owner<'a> {
    Program,
    Function(&'a Symbol),
    Unknown,
}

/// The functions of `/proc/kallsyms`, modules included, at the addresses they have in that
/// guest.
pub struct Symbols(Vec<Symbol>);

impl Symbols {
    pub fn parse(kallsyms: &str) -> Self {
        let mut symbols: Vec<_> = kallsyms.lines().filter_map(symbol).collect();
        // The first of several names of an address stays the first.
        symbols.sort_by_key(|symbol| symbol.address);
        symbols.dedup_by_key(|symbol| symbol.address);
        Self(symbols)
    }

    pub fn find(&self, address: u64) -> Owner<'_> {
        if address < KERNEL {
            return Owner::Program;
        }
        let after = self.0.partition_point(|symbol| symbol.address <= address);
        match after.checked_sub(1) {
            Some(at) => Owner::Function(&self.0[at]),
            None => Owner::Unknown,
        }
    }

    /// Writes Rust's names as they are in the source, if c++filt is there to do it.
    pub fn demangle(&mut self) {
        let mangled: Vec<String> = self
            .0
            .iter()
            .filter(|symbol| symbol.name.starts_with("_R"))
            .map(|symbol| symbol.name.clone())
            .collect();
        let names = demangled(&mangled);
        for symbol in &mut self.0 {
            if let Some(name) = names.get(&symbol.name) {
                symbol.name.clone_from(name);
            }
        }
    }
}

/// A line of `/proc/kallsyms`, if it is a function: `ADDRESS TYPE NAME [MODULE]`.
fn symbol(line: &str) -> Option<Symbol> {
    let mut words = line.split_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next()?;
    let name = words.next()?.to_owned();
    let function = matches!(kind, "t" | "T" | "w" | "W") && address >= KERNEL;
    function.then(|| Symbol {
        address,
        name,
        measured: words.next() == Some("[toe]"),
    })
}

fn demangled(names: &[String]) -> BTreeMap<String, String> {
    let filt = || -> Option<String> {
        let mut child = Command::new(paths::which("c++filt")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut input = child.stdin.take()?;
        let text = names.join("\n");
        // It writes while we do: from one thread, a full pipe would be the end.
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = child.wait_with_output().ok()?;
        writer.join().ok()?.ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let text = filt().unwrap_or_default();
    let plain = text
        .lines()
        .map(|name| without_arguments(&without_hashes(name)));
    names.iter().cloned().zip(plain).collect()
}

/// Without the hash behind the name of a crate: `toe_core[5f1c]::dct`.
fn without_hashes(name: &str) -> String {
    let mut plain = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        match after.split_once(']') {
            Some((hash, after))
                if !hash.is_empty() && hash.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                rest = after;
            }
            _ => {
                plain.push('[');
                rest = after;
            }
        }
    }
    plain + rest
}

/// Without what the module's own functions are instantiated with: `f::<A<B>>::g` is
/// `f::g`.
fn without_arguments(name: &str) -> String {
    if !name.trim_start_matches('<').starts_with("toe_core::") {
        return name.to_owned();
    }
    let mut plain = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("::<") {
        plain.push_str(before);
        let mut depth = 1;
        let mut last = ' ';
        let end = after.find(|c| {
            match c {
                '<' => depth += 1,
                // Not of an arrow: `fn() -> T`.
                '>' if last != '-' => depth -= 1,
                _ => {}
            }
            last = c;
            depth == 0
        });
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000040 T ksys_read
ffffffff81000040 t alias_of_it
ffffffff81000080 D a_variable
ffffffff810000c0 t ksys_write
ffffffffc0000000 t _RNvCs1_8toe_core3run\t[toe]
ffffffffc0000100 t br_handle\t[bridge]
";

    fn name(symbols: &Symbols, address: u64) -> String {
        match symbols.find(address) {
            Owner::Function(symbol) => symbol.name.clone(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn addresses_belong_to_the_function_before() {
        let symbols = Symbols::parse(KALLSYMS);
        assert_eq!(name(&symbols, 0x40_1000), "Program");
        assert_eq!(name(&symbols, 0xffff_8000_0000_0000), "Unknown");
        assert_eq!(name(&symbols, 0xffff_ffff_8100_0040), "ksys_read");
        // Data is no function.
        assert_eq!(name(&symbols, 0xffff_ffff_8100_0090), "ksys_read");
        assert_eq!(name(&symbols, 0xffff_ffff_8100_00c1), "ksys_write");
        assert_eq!(name(&symbols, 0xffff_ffff_c000_0200), "br_handle");
    }

    #[test]
    fn the_module_is_known() {
        let symbols = Symbols::parse(KALLSYMS);
        let Owner::Function(symbol) = symbols.find(0xffff_ffff_c000_0000) else {
            panic!("it is a function");
        };
        assert!(symbol.measured && symbol.begins_at(0xffff_ffff_c000_0000));
        let Owner::Function(symbol) = symbols.find(0xffff_ffff_c000_0101) else {
            panic!("it is a function");
        };
        assert!(!symbol.measured && !symbol.begins_at(0xffff_ffff_c000_0101));
    }

    #[test]
    fn hashes_of_crates() {
        assert_eq!(
            without_hashes("<toe_core[5f1c]::dct::Engine>::run"),
            "<toe_core::dct::Engine>::run"
        );
        assert_eq!(without_hashes("f::<[u8; 4]>[]"), "f::<[u8; 4]>[]");
    }
    #[test]
    fn arguments_of_functions() {
        assert_eq!(
            without_arguments("toe_core::rx::take::<toe_core::Port<u8>, fn() -> u8>::{closure#0}"),
            "toe_core::rx::take::{closure#0}"
        );
        assert_eq!(
            without_arguments("<toe_core::Table<u8> as core::Drop>::drop"),
            "<toe_core::Table<u8> as core::Drop>::drop"
        );
        let library = "core::ptr::drop_in_place::<toe_core::Port>";
        assert_eq!(without_arguments(library), library);
    }
}
