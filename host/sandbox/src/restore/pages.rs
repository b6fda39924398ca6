//! The pages of a linear memory that were written, as the kernel knows them.
//!
//! A page of an instance's memory is private to the process, and no longer that of the file with the initial data, once
//! it was written. `PAGEMAP_SCAN` (Linux 6.7) lists such pages, present or in swap. The list can name a page that was
//! not written since it was last put back, but never leaves out one that was.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::OnceLock;

/// The size of a page.
const PAGE: usize = 4096;

/// The number of ranges that one call lists.
const RANGES: usize = 32;

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// `_IOWR('f', 16, struct pm_scan_arg)` of linux/fs.h.
const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610_u32 as libc::Ioctl;

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Range {
    start: u64,
    end: u64,
    categories: u64,
}

/// The place of an instance's linear memory.
pub(super) struct Memory {
    address: usize,
    size: usize,
}

impl Memory {
    /// The place of these bytes, which are a whole linear memory.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { address: bytes.as_ptr().expose_provenance(), size: bytes.len() }
    }

    /// Copies every page that was written back from `image`, whose missing end is zero. Returns the number of bytes;
    /// none when they are more than `most`, or the kernel fails: some pages may then be restored and others not.
    ///
    /// The caller has the only access to the instance, whose memory is as large as it was.
    pub(super) fn restore(&self, image: &[u8], most: usize) -> Option<usize> {
        let mut ranges = [Range::default(); RANGES];
        let (mut from, end, mut copied) = (self.address as u64, (self.address + self.size) as u64, 0);
        while from < end {
            let (found, next) = scan(from, end, &mut ranges)?;
            for range in &ranges[..found] {
                let (start, end) = (range.start.max(from) as usize, range.end.min(end) as usize);
                copied += end - start;
                if copied > most {
                    return None;
                }
                self.copy(image, start - self.address, end - start);
            }
            if next <= from {
                return None;
            }
            from = next;
        }
        Some(copied)
    }

    /// Gives all pages that were written back to the kernel, also those of the bytes by which the memory has grown. Its
    /// bytes are then those of the first state's file, or zero.
    ///
    /// The caller has the only access to the instance, which never runs again.
    pub(super) fn release(&self, grown: usize) {
        let start = std::ptr::with_exposed_provenance_mut::<std::ffi::c_void>(self.address);
        // A kernel that refuses leaves the pages to the engine.
        // SAFETY: the range is the linear memory, which the engine has mapped as private pages for as long as the
        // instance lives. Nothing runs that would miss their contents: the engine resets the memory before its next use.
        let _ = unsafe { rustix::mm::madvise(start, self.size + grown, rustix::mm::Advice::LinuxDontNeed) };
    }

    fn copy(&self, image: &[u8], at: usize, length: usize) {
        let there = image.get(at..).unwrap_or_default();
        let there = &there[..there.len().min(length)];
        let target = std::ptr::with_exposed_provenance_mut::<u8>(self.address + at);
        // SAFETY: the range is inside of the linear memory, which the engine has mapped for reading and writing for as
        // long as the instance lives, and which cannot move: it is as large as it was when its address was taken. The
        // instance does not run, and nothing else borrows its store. The image is other memory.
        unsafe {
            std::ptr::copy_nonoverlapping(there.as_ptr(), target, there.len());
            std::ptr::write_bytes(target.add(there.len()), 0, length - there.len());
        }
    }
}

/// Whether the kernel lists written pages.
pub(super) fn can_scan() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let page = vec![1_u8; 2 * PAGE];
        let start = (page.as_ptr().addr().next_multiple_of(PAGE)) as u64;
        scan(start, start + PAGE as u64, &mut [Range::default(); RANGES]).is_some_and(|(found, _)| found == 1)
    })
}

/// Lists written pages of a range of addresses. Returns their number, and the address up to which it has looked.
fn scan(start: u64, end: u64, ranges: &mut [Range; RANGES]) -> Option<(usize, u64)> {
    static PAGEMAP: OnceLock<Option<File>> = OnceLock::new();
    let pagemap = PAGEMAP.get_or_init(|| File::open("/proc/self/pagemap").ok()).as_ref()?;
    let mut scan = Scan {
        size: size_of::<Scan>() as u64,
        start,
        end,
        vec: ranges.as_mut_ptr().addr() as u64,
        vec_len: RANGES as u64,
        // Not those of the file, and not those that were only read and are the kernel's page of zeros.
        category_inverted: PAGE_IS_FILE | PAGE_IS_PFNZERO,
        category_mask: PAGE_IS_FILE | PAGE_IS_PFNZERO,
        category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        return_mask: PAGE_IS_PRESENT,
        ..Scan::default()
    };
    // SAFETY: the argument is the structure that this request takes, and it names an array of `RANGES` ranges that
    // lives longer than the call and that nothing else uses.
    let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut scan) };
    Some((usize::try_from(found).ok()?, scan.walk_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(pages: usize) -> rustix::io::Result<*mut u8> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        unsafe { mmap_anonymous(std::ptr::null_mut(), pages * PAGE, flags, MapFlags::PRIVATE).map(<*mut _>::cast) }
    }

    #[test]
    fn written_pages_are_put_back_and_no_others_are_touched() {
        if !can_scan() {
            println!("SKIPPED: restored instances: the kernel cannot tell which pages were written");
            return;
        }
        // More ranges than one call lists.
        let pages = 200;
        let memory = mapped(pages).expect("memory");
        let memory = Memory { address: memory.expose_provenance(), size: pages * PAGE };
        let write = |at: usize, value: u8| {
            // SAFETY: it is inside of the mapping.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(memory.address + at).write(value) }
        };
        let read = |at: usize| {
            // SAFETY: the same.
            unsafe { std::ptr::with_exposed_provenance::<u8>(memory.address + at).read() }
        };
        let image: Vec<u8> = (0..10 * PAGE).map(|at| (at % 251) as u8).collect();
        image.iter().enumerate().for_each(|(at, byte)| write(at, *byte));
        for page in (20..pages).step_by(2) {
            write(page * PAGE + 7, 1);
        }
        write(3, 255);
        let copied = memory.restore(&image, usize::MAX).expect("it is restored");
        assert_eq!(copied, (10 + 90) * PAGE);
        assert!((0..pages * PAGE).all(|at| read(at) == image.get(at).copied().unwrap_or(0)));
        write(5, 0);
        assert_eq!(memory.restore(&image, PAGE), None, "more was written than may be");
    }
}
