//! What is asked of Linux directly: epoll, affinity, CPU clocks of other processes.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::fault::Fault;

pub const READABLE: u32 = libc::EPOLLIN as u32;
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;
const EVENTS_MAX: usize = 1024;
/// Linux has no process ids over this.
pub const PID_MAX: i32 = 1 << 22;

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Level-triggered epoll over descriptors known by a number.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked and owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(checked(libc::epoll_create1(0))?) };
        Ok(Self {
            epoll,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX],
        })
    }

    pub fn add(&self, fd: RawFd, token: usize, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub fn change(&self, fd: RawFd, token: usize, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    fn control(&self, what: i32, fd: RawFd, token: usize, interest: u32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest,
            u64: token as u64,
        };
        // SAFETY: `event` lives through the call; the kernel copies it.
        checked(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &mut event) })?;
        Ok(())
    }

    /// Waits at most `timeout_ms`; tokens and what they are ready for.
    pub fn wait(&mut self, timeout_ms: i32, ready: &mut Vec<(usize, u32)>) -> io::Result<()> {
        ready.clear();
        // SAFETY: the buffer holds EVENTS_MAX events and lives through the call.
        let count = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as i32,
                timeout_ms,
            )
        };
        let count = match checked(count) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        ready.extend(
            self.events[..count]
                .iter()
                .map(|event| (event.u64 as usize, event.events)),
        );
        Ok(())
    }
}

/// A clock that becomes readable (timerfd).
pub struct Timer {
    timer: OwnedFd,
}

impl Timer {
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: no pointers; the result is checked and owned by nobody else.
        let timer = unsafe {
            OwnedFd::from_raw_fd(checked(libc::timerfd_create(libc::CLOCK_MONOTONIC, flags))?)
        };
        Ok(Self { timer })
    }

    pub fn fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    /// Readable again and again after so long (more than nothing).
    pub fn every(&self, tick: Duration) -> io::Result<()> {
        let time = libc::timespec {
            tv_sec: tick.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(tick.subsec_nanos()),
        };
        let times = libc::itimerspec {
            it_interval: time,
            it_value: time,
        };
        // SAFETY: `times` lives through the call; nothing is asked for in return.
        checked(unsafe { libc::timerfd_settime(self.fd(), 0, &times, std::ptr::null_mut()) })?;
        Ok(())
    }

    /// Not readable until the next tick.
    pub fn take(&self) -> io::Result<()> {
        let mut ticks = [0u8; 8];
        // SAFETY: the buffer has the eight bytes and lives through the call.
        let read = unsafe { libc::read(self.fd(), ticks.as_mut_ptr().cast(), ticks.len()) };
        match checked(read as i32) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// Keeps this process on one core.
pub fn pin(cpu: usize) -> Result<(), Fault> {
    // SAFETY: a cpu_set_t is plain bits, for which zero is a value; CPU_SET stays inside it as
    // `cpu` is checked; the set lives through the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(Fault::BadArgument(format!(
                "--cpu {cpu}: there is no such core"
            )));
        }
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    checked(result).map_err(|error| Fault::BadArgument(format!("--cpu {cpu}: {error}")))?;
    Ok(())
}

/// Raises the soft limit of open files to the hard one: a connection is a descriptor.
pub fn allow_open_files(wanted: u64) -> Result<(), Fault> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives through both calls.
    unsafe {
        checked(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        if limit.rlim_cur < wanted {
            limit.rlim_cur = limit.rlim_max;
            checked(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))?;
        }
    }
    if limit.rlim_cur < wanted {
        let text = format!(
            "{wanted} open files are needed, {} are allowed",
            limit.rlim_cur
        );
        return Err(Fault::BadArgument(text));
    }
    Ok(())
}

/// User and system CPU time of this process.
pub fn own_cpu() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID).unwrap_or_default()
}

/// User and system CPU time of other processes, all their threads included, ended ones too.
///
/// The process's own CPU clock is exact to the nanosecond; utime + stime of /proc/PID/stat is the
/// same sum cut to 10 ms, and serves where the clock may not be read.
pub fn cpu_of(pids: &[i32]) -> Result<Duration, Fault> {
    pids.iter().map(|&pid| cpu_of_one(pid)).sum()
}

fn cpu_of_one(pid: i32) -> Result<Duration, Fault> {
    let mut id: libc::clockid_t = 0;
    // SAFETY: `id` lives through the call.
    if unsafe { libc::clock_getcpuclockid(pid, &mut id) } == 0 {
        if let Some(time) = clock(id) {
            return Ok(time);
        }
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_err(|error| Fault::failed(format!("server process {pid}: {error}")))?;
    // SAFETY: no pointers.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    stat_ticks(&stat)
        .map(|ticks| Duration::from_secs_f64(ticks as f64 / ticks_per_second))
        .ok_or_else(|| Fault::failed(format!("server process {pid}: its stat cannot be read")))
}

/// utime + stime: fields 14 and 15; the name before them may hold blanks and brackets.
fn stat_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn clock(id: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives through the call.
    (unsafe { libc::clock_gettime(id, &mut time) } == 0)
        .then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_process_is_called() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(stat_ticks(stat), Some(300));
        assert_eq!(stat_ticks("12 (a"), None);
    }

    #[test]
    fn the_cpu_clock_of_a_process_grows_with_its_work() {
        let pid = std::process::id() as i32;
        let before = cpu_of(&[pid]).unwrap();
        let mut sum = 0u64;
        while cpu_of(&[pid]).unwrap() < before + Duration::from_millis(2) {
            sum = (0..10_000).fold(sum, |sum, value| std::hint::black_box(sum ^ value));
        }
        assert!(own_cpu() > before);
        assert!(cpu_of(&[PID_MAX + 1]).is_err());
    }
}
