//! Fails in every way.

use std::thread;

#[test]
fn a_number() {
    println!("looking");
    assert_eq!(2 + 3, 4, "two and two are four");
}

fn gap() {
    todo!("say something")
}
#[test]
fn a_gap() {
    gap()
}
#[test]
fn a_gap_in_a_thread() {
    assert!(thread::spawn(gap).join().is_ok(), "it answers");
}
#[test]
fn another_threads_panic() {
    let other = thread::spawn(|| panic!("not this one"));
    assert!(other.join().is_ok(), "the other thread did not answer");
}
#[test]
fn an_error() -> Result<(), String> {
    Err("no such luck".to_string())
}
#[test]
fn a_crash() {
    std::process::abort()
}
#[test]
fn this_one_is_good() {}
