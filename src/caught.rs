//! foundation · What threads share: a name for each, locks, and a panic as a result: work that may
//! panic is caught, and says so.

use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Runs work that may panic; an `Err` is what the panic said. Such a panic is a result, so a
/// program's panic hook need not print it: see [`is_caught`].
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CATCHING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it gave no reason").to_string()
    })
}

/// Starts a thread of that name.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.replace('\0', "")).spawn(work)
}

/// True while this thread runs inside [`catch`].
pub fn is_caught() -> bool {
    CATCHING.get()
}

/// Locks, even if a thread panicked while it held the lock: each holder leaves what it changes
/// whole.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
