//! foundation · Finds everything below a process, and signals it. Without Linux's /proc and its
//! subreapers, what can be reached is the process group of the shell.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Whether orphans become ours.
pub(super) const ADOPTS: bool = cfg!(target_os = "linux");

/// The program that runs now; on Linux even if its file was replaced by a newer build.
pub(super) fn this_program() -> PathBuf {
    match ADOPTS {
        true => PathBuf::from("/proc/self/exe"),
        false => std::env::current_exe().unwrap_or_default(),
    }
}

/// From now on, whoever loses its parent below this process becomes a child of this process,
/// whatever session or group it has moved to.
pub(super) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Memory, environment and descriptors are no business of the commands below (root can look).
pub(super) fn hide() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// What else a supervisor does for its part: a `killall` of the program's name misses it, and
/// if it was stopped (SIGSTOP) it goes on when the program dies, to see that.
pub(super) fn prepare_supervisor() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_name(c"supervisor")
        .and_then(|()| nix::sys::prctl::set_pdeathsig(Signal::SIGCONT));
}

/// Sends a signal to each of them.
pub(super) fn signal(pids: impl IntoIterator<Item = Pid>, signal: Signal) {
    for pid in pids {
        let _ = kill(pid, signal); // it may have ended, or be another user's
    }
}

/// The direct children, those of every thread: the kernel lists them by thread. A few kernels
/// are built without these lists, and a thread may end while we look; then everybody is asked.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
        return Vec::new();
    };
    let lists = threads.map(|thread| fs::read_to_string(thread?.path().join("children")));
    let Ok(list) = lists.collect::<Result<String, _>>() else {
        return children_by_parent(parent);
    };
    let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.map(Pid::from_raw).collect()
}

fn children_by_parent(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &Pid| field(*pid, 1) == Some(parent.to_string());
    all.map(Pid::from_raw).filter(is_child).collect()
}

/// Everything below `ancestor` that still runs, parents first. Who has died and only waits to
/// be reaped does not count.
pub(super) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    for child in children(ancestor) {
        if !is_zombie(child) {
            found.push(child);
        }
        found.extend(descendants(child));
    }
    found
}

/// What `descendants` cannot see and a process group can: all of it as one negative number, which
/// `kill` takes for a group; none when nobody is in it any more.
pub(super) fn group(leader: Option<Pid>) -> Option<Pid> {
    let leader = leader.filter(|leader| !ADOPTS && killpg(*leader, None).is_ok())?;
    Some(Pid::from_raw(-leader.as_raw()))
}

/// A process whose first thread has ended looks like one, but runs on while it has others.
fn is_zombie(pid: Pid) -> bool {
    match field(pid, 0).as_deref() {
        Some("Z" | "X") => matches!(field(pid, 17).as_deref(), None | Some("0" | "1")),
        Some(_) => false,
        None => true,
    }
}

/// A field of "PID (name, which may hold anything) STATE PARENT …"; 0 is the state, 1 the
/// parent, 17 the number of threads.
fn field(pid: Pid, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(index).map(str::to_string)
}
