//! foundation · Finds everything below a process. What only Linux has is here, with a portable
//! stand-in beside it.

pub(super) use system::{
    ADOPTS, adopt_orphans, children, descendants, group, prepare_supervisor, this_program,
};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(super) fn signal(pids: impl IntoIterator<Item = Pid>, signal: Signal) {
    for pid in pids {
        let _ = kill(pid, signal); // it may have ended, or be another user's
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::path::PathBuf;

    use nix::sys::prctl;
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;

    /// Whether orphans become ours.
    pub const ADOPTS: bool = true;

    /// The program that runs now, even if its file was replaced by a newer build.
    pub fn this_program() -> PathBuf {
        PathBuf::from("/proc/self/exe")
    }

    /// From now on, whoever loses its parent below this process becomes a child of this process,
    /// whatever session or group it has moved to.
    pub fn adopt_orphans() {
        let _ = prctl::set_child_subreaper(true);
    }

    /// What else a supervisor does for its part: a `killall` of the program's name misses it, and
    /// if it was stopped (SIGSTOP) it goes on when the program dies, to see that.
    pub fn prepare_supervisor() {
        let _ = prctl::set_name(c"supervisor");
        let _ = prctl::set_pdeathsig(Signal::SIGCONT);
    }

    /// The direct children, those of every thread: the kernel lists them by thread. A few kernels
    /// are built without these lists, and a thread may end while we look; then everybody is asked.
    pub fn children(parent: Pid) -> Vec<Pid> {
        let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
            return Vec::new();
        };
        let lists = threads.map(|thread| fs::read_to_string(thread?.path().join("children")));
        match lists.collect::<Result<String, _>>() {
            Ok(list) => pids(&list),
            Err(_) => children_by_parent(parent),
        }
    }

    fn children_by_parent(parent: Pid) -> Vec<Pid> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut all = pids(&names.collect::<Vec<_>>().join(" "));
        all.retain(|pid| field(*pid, 1) == Some(parent.to_string()));
        all
    }

    fn pids(list: &str) -> Vec<Pid> {
        list.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .map(Pid::from_raw)
            .collect()
    }

    /// Everything below `ancestor` that still runs, parents first. Who has died and only waits to
    /// be reaped does not count.
    pub fn descendants(ancestor: Pid) -> Vec<Pid> {
        let mut found = Vec::new();
        for child in children(ancestor) {
            if !is_zombie(child) {
                found.push(child);
            }
            found.extend(descendants(child));
        }
        found
    }

    /// What can be reached through a process group alone: nothing that `descendants` misses.
    pub fn group(_leader: Option<Pid>) -> Option<Pid> {
        None
    }

    /// A process whose first thread has ended looks like one, but runs on while it has others.
    fn is_zombie(pid: Pid) -> bool {
        let Some(state) = field(pid, 0) else {
            return true;
        };
        ["Z", "X"].contains(&state.as_str()) && field(pid, 17).as_deref() <= Some("1")
    }

    /// A field of "PID (name, which may hold anything) STATE PARENT …"; 0 is the state, 1 the
    /// parent, 17 the number of threads.
    fn field(pid: Pid, index: usize) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(index).map(str::to_string)
    }
}

/// Without subreapers and without /proc, the process group of the shell is what can be reached: a
/// child that made its own session or group is out of sight.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::PathBuf;

    use nix::sys::signal::killpg;
    use nix::unistd::Pid;

    pub const ADOPTS: bool = false;

    pub fn this_program() -> PathBuf {
        std::env::current_exe().unwrap_or_default()
    }

    pub fn adopt_orphans() {}

    pub fn prepare_supervisor() {}

    pub fn children(_parent: Pid) -> Vec<Pid> {
        Vec::new()
    }

    pub fn descendants(_ancestor: Pid) -> Vec<Pid> {
        Vec::new()
    }

    /// The whole group as one negative number, which `kill` takes for a group; none when nobody is
    /// in it any more.
    pub fn group(leader: Option<Pid>) -> Option<Pid> {
        leader
            .filter(|leader| killpg(*leader, None).is_ok())
            .map(|leader| Pid::from_raw(-leader.as_raw()))
    }
}
