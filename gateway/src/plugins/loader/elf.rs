//! Reads a plugin's file before any of its code runs.

use std::path::Path;

use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _, ReadCache, ReadRef, elf};
use quartet_plugin::abi;

use super::super::refusal::Reason;

/// A larger file is no plugin.
const MAX_BYTES: u64 = 256 << 20;

/// What the file of a plugin says by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// The descriptor's symbol.
    pub symbol: String,
    /// The plugin's id, as far as the symbol shows it.
    pub id: String,
    /// The ABI it was built with.
    pub abi: (u16, u16),
    /// The oldest host minor it works with.
    pub needs_minor: u16,
    /// 1 codec, 2 session, 3 path.
    pub kind: u16,
    /// How many symbols it exports; one is right.
    pub exports: usize,
    /// The libraries it needs.
    pub libraries: Vec<String>,
    /// The newest glibc version that it asks for.
    pub glibc: Option<(u32, u32)>,
}

/// Reads and judges the file; nothing of it is run.
///
/// # Errors
/// The reason why it cannot be a plugin of this gateway.
pub fn read_facts(path: &Path) -> Result<FileFacts, Reason> {
    let unreadable = |error: std::io::Error| Reason::Unreadable(error.to_string());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Reason::NotALibrary("not a file".to_owned()));
    }
    if metadata.len() > MAX_BYTES {
        return Err(Reason::NotALibrary(format!("{} bytes are too many", metadata.len())));
    }
    facts_of(&ReadCache::new(file))
}

/// The same, from the file's bytes; reads no more of them than it needs.
///
/// # Errors
/// The reason why it cannot be a plugin of this gateway.
pub fn facts_of<'a>(bytes: impl ReadRef<'a>) -> Result<FileFacts, Reason> {
    let broken = |error: object::read::Error| Reason::NotALibrary(error.to_string());
    if bytes.read_bytes_at(0, 4) != Ok(&elf::ELFMAG) {
        return Err(Reason::NotALibrary("no ELF header".to_owned()));
    }
    machine(bytes)?;
    let file = ElfFile64::<Endianness, _>::parse(bytes).map_err(broken)?;
    let endian = file.endian();
    if file.elf_header().e_type(endian) != elf::ET_DYN {
        return Err(Reason::NotALibrary("a program or an object file".to_owned()));
    }
    let mut exports = 0;
    let mut symbols = Vec::new();
    for symbol in file.dynamic_symbols() {
        if symbol.is_definition() && symbol.is_global() {
            exports += 1;
            let name = symbol.name().unwrap_or_default();
            if name.starts_with(abi::SYMBOL_PREFIX) {
                symbols.push((name.to_owned(), symbol.address()));
            }
        }
    }
    let address = match symbols.as_slice() {
        [] => return Err(Reason::NoSymbol),
        [(_, address)] => *address,
        _ => return Err(Reason::ManySymbols(symbols.into_iter().map(|(name, _)| name).collect())),
    };
    let (symbol, _) = symbols.swap_remove(0);
    let id = symbol[abi::SYMBOL_PREFIX.len()..].replace('_', "-");
    let head = at(&file, address).ok_or_else(|| Reason::Magic(symbol.clone()))?;
    let word = |from: usize| u16::from_le_bytes([head[from], head[from + 1]]);
    let facts = FileFacts {
        abi: (word(4), word(6)),
        needs_minor: word(12),
        kind: word(14),
        exports,
        libraries: libraries(&file),
        glibc: glibc(&file),
        symbol,
        id,
    };
    if u32::from_le_bytes([head[0], head[1], head[2], head[3]]) != abi::MAGIC {
        return Err(Reason::Magic(facts.symbol));
    }
    judge(facts)
}

/// Refuses what this gateway cannot serve, from the first sixteen bytes alone.
fn judge(facts: FileFacts) -> Result<FileFacts, Reason> {
    let host = format!("{}.{}", abi::ABI_MAJOR, abi::ABI_MINOR);
    if facts.abi.0 != abi::ABI_MAJOR {
        return Err(Reason::Major {
            plugin: format!("{}.{}", facts.abi.0, facts.abi.1),
            host,
        });
    }
    if facts.needs_minor > abi::ABI_MINOR {
        return Err(Reason::Minor {
            plugin: format!("{}.{}", facts.abi.0, facts.needs_minor),
            host,
        });
    }
    if ![abi::KIND_CODEC, abi::KIND_SESSION, abi::KIND_PATH].contains(&facts.kind) {
        return Err(Reason::Kind(facts.kind));
    }
    if let (Some(needed), Some(here)) = (facts.glibc, glibc_here())
        && needed > here
    {
        let text = |(major, minor)| format!("{major}.{minor}");
        return Err(Reason::Glibc {
            needed: text(needed),
            here: text(here),
        });
    }
    Ok(facts)
}

/// Refuses files of another class, byte order or processor, by the plain offsets of the ELF header.
fn machine<'a>(bytes: impl ReadRef<'a>) -> Result<(), Reason> {
    const HOST: elf::Machine = if cfg!(target_arch = "x86_64") {
        elf::EM_X86_64
    } else if cfg!(target_arch = "aarch64") {
        elf::EM_AARCH64
    } else {
        elf::EM_RISCV
    };
    let Ok(header) = bytes.read_bytes_at(0, 64) else {
        return Err(Reason::NotALibrary("cut short".to_owned()));
    };
    let little = header[5] == elf::ELFDATA2LSB.0;
    let bits = if header[4] == elf::ELFCLASS64.0 { 64 } else { 32 };
    let number = elf::Machine(if little {
        u16::from_le_bytes([header[18], header[19]])
    } else {
        u16::from_be_bytes([header[18], header[19]])
    });
    if number == HOST && little && bits == 64 {
        return Ok(());
    }
    let name = |number| match number {
        elf::EM_X86_64 => "x86-64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_386 => "i386".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_RISCV => "riscv".to_owned(),
        other => format!("machine {}", other.0),
    };
    Err(Reason::OtherMachine {
        found: format!("{} ({bits} bits)", name(number)),
        host: format!("{} (64 bits)", name(HOST)),
    })
}

/// The sixteen bytes of the file that will be at this address.
fn at<'a>(file: &ElfFile64<'a, Endianness, impl ReadRef<'a>>, address: u64) -> Option<&'a [u8; 16]> {
    let endian = file.endian();
    file.elf_program_headers()
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
        .find_map(|segment| segment.data_range(endian, file.data(), address, 16).ok()?)?
        .try_into()
        .ok()
}

fn libraries<'a>(file: &ElfFile64<'a, Endianness, impl ReadRef<'a>>) -> Vec<String> {
    let Ok(table) = file.elf_dynamic_table() else {
        return Vec::new();
    };
    table
        .iter()
        .filter(|entry| entry.tag == elf::DT_NEEDED)
        .filter_map(|entry| table.string(entry).ok())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

/// The newest `GLIBC_x.y` among the versions that the file asks for.
fn glibc<'a>(file: &ElfFile64<'a, Endianness, impl ReadRef<'a>>) -> Option<(u32, u32)> {
    let (endian, data, sections) = (file.endian(), file.data(), file.elf_section_table());
    let (mut needs, link) = sections.gnu_verneed(endian, data).ok()??;
    let strings = sections.strings(endian, data, link).ok()?;
    let mut newest = None;
    while let Ok(Some((_, mut versions))) = needs.next() {
        while let Ok(Some(version)) = versions.next() {
            let name = version.name(endian, strings).unwrap_or_default();
            newest = newest.max(
                str::from_utf8(name)
                    .ok()
                    .and_then(|name| name.strip_prefix("GLIBC_"))
                    .and_then(pair),
            );
        }
    }
    newest
}

fn pair(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The version of the C library that this process runs with.
#[cfg(target_env = "gnu")]
fn glibc_here() -> Option<(u32, u32)> {
    // SAFETY: returns a constant text that ends with 0.
    let text = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    pair(text.to_str().ok()?)
}

/// Another C library: no version to compare.
#[cfg(not(target_env = "gnu"))]
fn glibc_here() -> Option<(u32, u32)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(pair("2.38"), Some((2, 38)));
        assert_eq!(pair("2.2.5"), Some((2, 2)));
        assert_eq!(pair("PRIVATE"), None);
        assert!(glibc_here().is_none_or(|here| here > (2, 2)));
    }

    #[test]
    fn glibc_too_new_is_a_sentence() {
        let facts = FileFacts {
            symbol: String::new(),
            id: String::new(),
            abi: (1, 0),
            needs_minor: 0,
            kind: 1,
            exports: 1,
            libraries: Vec::new(),
            glibc: Some((99, 1)),
        };
        if glibc_here().is_some() {
            let text = judge(facts).unwrap_err().to_string();
            assert!(text.starts_with("it needs glibc 99.1, here is 2."), "{text}");
        }
    }

    #[test]
    fn other_machines_are_named() {
        let mut header = [0_u8; 64];
        header[..4].copy_from_slice(&elf::ELFMAG);
        header[4..6].copy_from_slice(&[2, 1]);
        header[18] = 40;
        let text = facts_of(&header[..]).unwrap_err().to_string();
        assert!(
            text.starts_with("it is built for arm (64 bits), this gateway for "),
            "{text}"
        );
        assert!(matches!(facts_of(&header[..30]), Err(Reason::NotALibrary(_))));
        assert!(matches!(facts_of(&b"#!/bin/sh\n"[..]), Err(Reason::NotALibrary(_))));
    }
}
