//! aids · From a list of instructions to a prompt.

use std::fmt::Write as _;

/// One prompt of all lines, with every `{30}` divided by the scale. Other braces stay as they are.
pub fn instructions(scenario: &str, scale: f64) -> String {
    let lines = scenario
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let scenario = lines.collect::<Vec<_>>().join(", then ");
    let (mut text, mut rest) = (String::new(), scenario.as_str());
    while let Some((before, after)) = rest.split_once('{') {
        text += before;
        rest = after;
        match after
            .split_once('}')
            .map(|(number, after)| (seconds(number), after))
        {
            Some((Some(seconds), after)) => {
                let _ = write!(text, "{}", seconds / scale);
                rest = after;
            }
            _ => text.push('{'),
        }
    }
    text + rest
}

fn seconds(number: &str) -> Option<f64> {
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| number.parse().ok())?
}
