//! A small disk of its own (tmpfs) that can be full and be freed again. Only root may mount one.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIZE: u64 = 128 << 20;

pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"], at)?;
        Ok(Self(at.to_owned()))
    }

    /// Not a byte more than what is there.
    pub fn fill(&self) -> Result<(), String> {
        let mut last = Ok(());
        // Whoever writes meanwhile makes the size too small: again.
        for _ in 0..100 {
            last = mount(&["-o", &format!("remount,size={}", self.used())], &self.0);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    pub fn free(&self) -> Result<(), String> {
        mount(&["-o", &format!("remount,size={SIZE}")], &self.0)
    }

    fn used(&self) -> u64 {
        let path = CString::new(self.0.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path ends in a zero byte and the struct is plain data; both outlive the call.
        let (done, stat) = unsafe {
            let mut stat: libc::statvfs = std::mem::zeroed();
            (libc::statvfs(path.as_ptr(), &raw mut stat), stat)
        };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(words: &[&str], at: &Path) -> Result<(), String> {
    let output = Command::new("mount").args(words).arg(at).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
