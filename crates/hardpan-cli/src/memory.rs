//! How much memory the process has used.

/// The most memory the process has had at one time, in bytes; `None` where the system does not say (it is asked on Linux only).
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    field(&status, "VmHWM:")
}

/// Memory of the machine, in bytes.
pub fn total_bytes() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Such files have lines like `VmHWM:     5120 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        assert_eq!(field("VmPeak:\t 9 kB\nVmHWM:\t  512 kB\n", "VmHWM:"), Some(524_288));
        assert_eq!(field("VmHWM: much\n", "VmHWM:"), None);
        assert_eq!(field("", "VmHWM:"), None);
    }
}
