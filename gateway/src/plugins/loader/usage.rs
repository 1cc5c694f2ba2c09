//! What the plugin under test takes of the machine: allocations, memory, time. For a process that tests one plugin and ends.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::time::Duration;

thread_local! {
    /// Allocations of this thread that went through [`count_allocations`]' functions.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// How many allocations of libraries this thread has made, since [`count_allocations`].
pub(in crate::plugins) fn allocations() -> u64 {
    ALLOCATIONS.get()
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    count();
    // SAFETY: the caller's own call, passed on; as in all below.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn calloc(count_of: usize, size: usize) -> *mut c_void {
    count();
    // SAFETY: as above.
    unsafe { libc::calloc(count_of, size) }
}

unsafe extern "C" fn realloc(at: *mut c_void, size: usize) -> *mut c_void {
    count();
    // SAFETY: as above.
    unsafe { libc::realloc(at, size) }
}

unsafe extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    count();
    // SAFETY: as above.
    unsafe { libc::aligned_alloc(alignment, size) }
}

unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    count();
    // SAFETY: as above.
    unsafe { libc::posix_memalign(out, alignment, size) }
}

/// The function that counts in place of this one.
fn counted(name: &CStr) -> Option<*const c_void> {
    Some(match name.to_bytes() {
        b"malloc" => malloc as *const c_void,
        b"calloc" => calloc as *const c_void,
        b"realloc" => realloc as *const c_void,
        b"aligned_alloc" | b"memalign" => aligned_alloc as *const c_void,
        b"posix_memalign" => posix_memalign as *const c_void,
        _ => return None,
    })
}

/// An entry of the dynamic section, and a relocation (System V ABI, gabi chapter 5; the same on all 64-bit systems).
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: u64,
}

#[repr(C)]
struct Relocation {
    offset: u64,
    info: u64,
    addend: i64,
}

const DT_NULL: i64 = 0;
const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;
/// Relocations that hold the address of a function of another library.
#[cfg(target_arch = "x86_64")]
const IMPORTED: [u64; 2] = [6, 7];
#[cfg(target_arch = "aarch64")]
const IMPORTED: [u64; 2] = [1025, 1026];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const IMPORTED: [u64; 2] = [u64::MAX, u64::MAX];

/// Has the allocations of all libraries but the system's own counted from now on: the plugin's, and those of what it needs. The
/// addresses that their calls go by are changed, which `RTLD_NOW` has made final.
pub(in crate::plugins) fn count_allocations() {
    // SAFETY: the callback reads what the loader says of each object, and takes no data.
    unsafe { libc::dl_iterate_phdr(Some(redirect), std::ptr::null_mut()) };
}

unsafe extern "C" fn redirect(info: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the loader's own description of an object that is mapped, for this call.
    let (base, headers, name) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (info.dlpi_addr, headers, CStr::from_ptr(info.dlpi_name))
    };
    let file = name.to_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // The program itself has no name; the C library and the loader allocate for everybody.
    let is_system = [&b"libc.so"[..], b"ld-", b"linux-vdso", b"libdl.", b"libpthread."]
        .iter()
        .any(|system| file.starts_with(system));
    if file.is_empty() || is_system {
        return 0;
    }
    if let Some(header) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) {
        // SAFETY: the object's dynamic section, as the loader has mapped and relocated it.
        unsafe { redirect_object(base, (base + header.p_vaddr) as *const Dynamic) };
    }
    0
}

/// # Safety
/// `dynamic` is the relocated dynamic section of an object loaded at `base`.
unsafe fn redirect_object(base: u64, dynamic: *const Dynamic) {
    let find = |tag: i64| {
        let mut at = dynamic;
        loop {
            // SAFETY: the section ends with DT_NULL.
            let entry = unsafe { &*at };
            match entry.tag {
                DT_NULL => return None,
                found if found == tag => return Some(entry.value),
                _ => at = at.wrapping_add(1),
            }
        }
    };
    let (Some(strings), Some(symbols)) = (find(DT_STRTAB), find(DT_SYMTAB)) else {
        return;
    };
    for (table, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
        let (Some(at), Some(bytes)) = (find(table), find(size)) else {
            continue;
        };
        let count = bytes as usize / size_of::<Relocation>();
        for relocation in 0..count {
            // SAFETY: within the table whose place and size the section gives.
            let relocation = unsafe { &*(at as *const Relocation).add(relocation) };
            if !IMPORTED.contains(&(relocation.info & 0xffff_ffff)) {
                continue;
            }
            // SAFETY: the symbol that the relocation names, and its name, both in the tables of the object.
            let name = unsafe {
                let symbol = &*(symbols as *const libc::Elf64_Sym).add((relocation.info >> 32) as usize);
                CStr::from_ptr((strings + u64::from(symbol.st_name)) as *const c_char)
            };
            if let Some(ours) = counted(name) {
                // SAFETY: the place of an address of the object, which is made writable.
                unsafe { write_slot((base + relocation.offset) as *mut *const c_void, ours) };
            }
        }
    }
}

/// # Safety
/// `slot` is a mapped place for an address.
unsafe fn write_slot(slot: *mut *const c_void, value: *const c_void) {
    // SAFETY: sysconf takes a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let start = (slot as usize) & !(page - 1);
    // Read-only since the loader has relocated it. It stays writable: this process tests one plugin and ends.
    // SAFETY: the page of the slot is mapped, and nobody else runs here.
    let code = unsafe { libc::mprotect(start as *mut c_void, page, libc::PROT_READ | libc::PROT_WRITE) };
    if code == 0 {
        // SAFETY: writable now, and aligned as addresses are.
        unsafe { slot.write(value) };
    }
}

/// Writes what the C library holds back of what was printed.
pub(in crate::plugins) fn flush_printed() {
    // SAFETY: null means all streams; nobody else uses them here.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Bytes that are allocated in the whole process; `None` where the C library does not tell (glibc does from 2.33 on).
pub(in crate::plugins) fn bytes_in_use() -> Option<usize> {
    let this = libloading::os::unix::Library::this();
    // SAFETY: mallinfo2 has this type wherever it exists (mallinfo(3)).
    let mallinfo2 = unsafe { this.get::<unsafe extern "C" fn() -> libc::mallinfo2>("mallinfo2") }.ok()?;
    // SAFETY: it takes nothing and only counts.
    let info = unsafe { mallinfo2() };
    Some(info.uordblks + info.hblkhd)
}

/// The processor time of this thread.
pub(in crate::plugins) fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// How often this thread has given the processor away by itself: it slept, waited for somebody, or for the disk.
pub(in crate::plugins) fn waits() -> u64 {
    // SAFETY: a struct of numbers, and a place for it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    u64::try_from(usage.ru_nvcsw).unwrap_or_default()
}
