//! s05 · Exercise: front matter as people write it.
//!
//! A skill file begins with a head: `key: value` lines between two lines of `---`. Fill in `split`, which
//! parts the head from the text, `value`, which looks up a key in the head, and `load`, which reads many
//! files and names each one that it cannot use. Two well-known tools failed at just this: one dropped a
//! skill without a word because its description held a colon (vercel-labs/skills#1058), the other could
//! not load agents whose files had Windows line ends (github/copilot-cli#694).

#![allow(dead_code, unused_variables, reason = "gaps leave things unused")]

#[derive(Debug, Clone, PartialEq)]
struct Skill {
    name: String,
    /// Goes to the model with every request.
    description: String,
    /// Goes to the model when it asks for it.
    body: String,
}

/// The lines between the first line, which is `---`, and the next line that is `---`, and the text after
/// it. `None` if there is no such head. Whatever the line ends were, they are `\n` afterwards.
fn split(text: &str) -> Option<(String, String)> {
    todo!("split: part the head from the text")
}

/// The value of a key, without blanks around it: what stands behind the first colon of its line.
/// `None` if there is no such line, or nothing behind it.
fn value(head: &str, key: &str) -> Option<String> {
    todo!("value: look up a key in the head")
}

/// A skill from the text of its file. The error says what is missing.
fn parse(text: &str) -> Result<Skill, String> {
    let (head, body) =
        split(text).ok_or("it does not begin with a head between two lines of ---")?;
    let need = |key: &str| value(&head, key).ok_or(format!("there is no {key} in its head"));
    Ok(Skill {
        name: need("name")?,
        description: need("description")?,
        body: body.trim().to_string(),
    })
}

/// The skills of these files, given by path and text, and a sentence for each file that cannot be used:
/// its path and why. One bad file does not harm the others.
fn load(files: &[(&str, &str)]) -> (Vec<Skill>, Vec<String>) {
    todo!("load: parse every file, and name each one that cannot be used")
}

/// What every request says of the skills: one line for each skill, however long its text is.
fn listing(skills: &[Skill]) -> String {
    let line = |skill: &Skill| format!("- {}: {}\n", skill.name, skill.description);
    skills.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "---\nname: release\ndescription: Ships a version. Load it first.\n---\n# Steps\n\n1. Test.\n";

    #[track_caller]
    fn skill(text: &str) -> Skill {
        parse(text).unwrap_or_else(|why| panic!("this file is fine, but: {why}\n{text}"))
    }

    #[test]
    fn head_and_text_are_parted() {
        let skill = skill(RELEASE);
        assert_eq!(skill.name, "release", "the name, without blanks around it");
        assert_eq!(
            skill.description, "Ships a version. Load it first.",
            "the description"
        );
        assert_eq!(
            skill.body, "# Steps\n\n1. Test.",
            "the text after the head, and nothing of the head"
        );
        let line = "- release: Ships a version. Load it first.\n";
        assert_eq!(
            listing(&[skill]),
            line,
            "what every request says of the skills"
        );
    }

    #[test]
    fn a_colon_in_a_value_belongs_to_the_value() {
        let text = RELEASE.replace(
            "Ships a version.",
            "Ships it: build, tag, push to https://example.org.",
        );
        let expected = "Ships it: build, tag, push to https://example.org. Load it first.";
        assert_eq!(
            skill(&text).description,
            expected,
            "only the first colon of a line ends the key"
        );
    }

    #[test]
    fn windows_line_ends_make_no_difference() {
        let windows = RELEASE.replace('\n', "\r\n");
        assert_eq!(
            skill(&windows),
            skill(RELEASE),
            "the same file, saved on Windows: no \\r is left anywhere"
        );
    }

    #[test]
    fn dashes_elsewhere_are_ordinary_text() {
        let text = RELEASE.replace("# Steps\n", "# Steps\n---\nnot a key: text\n---\n");
        let body = "# Steps\n---\nnot a key: text\n---\n\n1. Test.";
        assert_eq!(
            skill(&text).body,
            body,
            "the head ends at the first --- after it began; later ones are rules in the text"
        );
        let text = RELEASE.replace("version.", "version --- with notes.");
        let description = "Ships a version --- with notes. Load it first.";
        assert_eq!(
            skill(&text).description,
            description,
            "--- ends the head only as a line of its own"
        );
    }

    #[test]
    fn a_line_that_only_ends_in_dashes_ends_no_head() {
        let text = RELEASE.replace("name: release", "note: old ---\nname: release");
        assert_eq!(
            skill(&text).name,
            "release",
            "`note: old ---` ends in ---, but it is no line of its own"
        );
    }

    #[test]
    fn a_line_without_a_colon_hides_nothing() {
        let text = RELEASE.replace("name: release", "a word to the reader\nname: release");
        assert_eq!(
            skill(&text).name,
            "release",
            "a line without a colon is passed over, and the next ones count"
        );
    }

    #[test]
    fn a_key_is_a_whole_word_in_the_head() {
        let text = RELEASE.replace(
            "name: release",
            "name-of-author: Ada\nnames: all\nname: release",
        );
        assert_eq!(
            skill(&text).name,
            "release",
            "`name-of-author` and `names` are other keys than `name`"
        );
        let text = "---\nname: release\ndescription:\n---\ndescription: this is text\n";
        let why =
            parse(text).expect_err("the description in the head is empty, and the text is no head");
        assert!(
            why.contains("description"),
            "the error must say what is missing: {why}"
        );
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_the_others_work() {
        let plain = "# Just text, without a head\n";
        let nameless = "---\ndescription: whose?\n---\nText\n";
        let (skills, problems) =
            load(&[("a.md", plain), ("release.md", RELEASE), ("b.md", nameless)]);
        assert_eq!(
            skills,
            [skill(RELEASE)],
            "the file between two bad ones is fine"
        );
        assert_eq!(
            problems.len(),
            2,
            "a skill that is dropped without a word is never missed: {problems:?}"
        );
        for (problem, words) in problems.iter().zip([["a.md", "---"], ["b.md", "name"]]) {
            for word in words {
                assert!(
                    problem.contains(word),
                    "{word:?} must be in the sentence, or nobody can mend the file: {problem}"
                );
            }
        }
    }
}
