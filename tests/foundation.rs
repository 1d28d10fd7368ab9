//! What lessons take as given: a file that is held, an interrupt, and the text of what was printed.

use std::fs::{File, remove_file};
use std::thread;

use meanwhile::held::{Held, is_held};
use meanwhile::interrupt::Interrupt;
use meanwhile::process::output::{Output, last_line, readable};

#[test]
fn a_file_is_free_at_once_even_if_a_child_still_has_it() {
    let path = std::env::temp_dir().join(format!("meanwhile-held-{}", std::process::id()));
    let open = || File::create(&path).expect("a file");
    let file = open();
    let of_a_child = file.try_clone().expect("the same file once more");
    let held = Held::new(file).expect("nobody holds it");
    assert!(Held::new(open()).is_err() && is_held(&open()));
    drop(held);
    assert!(!is_held(&open()) && Held::new(open()).is_ok());
    drop(of_a_child);
    remove_file(&path).expect("a file");
}

#[test]
fn those_who_look_whether_a_file_is_held_do_not_see_each_other() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let [one, other] = [(); 2].map(|()| File::open(file.path()).expect("a file"));
    assert!(!is_held(&one) && !is_held(&other));
}

#[test]
fn one_trigger_wakes_all_who_wait_and_all_who_come_later() {
    let latch = Interrupt::default();
    let (first, second) = (latch.receiver(), latch.clone().receiver());
    let waiter = thread::spawn(move || first.recv());
    latch.trigger();
    assert!(waiter.join().unwrap().is_err() && second.recv().is_err());
    assert!(latch.receiver().recv().is_err() && latch.is_triggered());
}

#[test]
fn a_reset_makes_it_good_again_but_not_for_those_already_woken() {
    let latch = Interrupt::default();
    let before = latch.receiver();
    latch.trigger();
    latch.reset();
    assert!(!latch.is_triggered() && before.recv().is_err());
    latch.trigger();
    assert!(latch.is_triggered());
}

#[test]
fn what_is_too_long_keeps_whole_lines_of_head_and_tail() {
    let mut output = Output::default();
    for number in 0..10_000 {
        output.push(format!("line {number}\n").as_bytes());
    }
    let text = output.render();
    let (head, rest) = text.split_once("\n[… ").expect("something is left out");
    let (left_out, tail) = rest.split_once(" …]\n").expect("the note ends");
    assert!(head.starts_with("line 0\n") && tail.ends_with("\nline 9999\n"));
    let kept = head.lines().chain(tail.lines());
    assert!(kept.clone().all(|line| line.starts_with("line ")));
    assert!(left_out.starts_with(&format!("{} lines, ", 10_000 - kept.count())));
    assert_eq!(last_line(&output.end()), "line 9999");
}

#[test]
fn control_characters_are_shown_and_not_sent() {
    let bytes = b"a\tb\r\nc\rd \x1b[2J\0\x7f\xff \xc2\x9b";
    assert_eq!(readable(bytes), "a\tb\nc\nd ^[[2J^@^?\u{fffd} \u{fffd}");
}
