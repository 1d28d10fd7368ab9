//! aids · From a list of instructions to a prompt.

/// One prompt of all lines, with every `{30}` divided by the scale. Other braces stay as they are.
pub fn instructions(scenario: &str, scale: f64) -> String {
    let mut lines: Vec<&str> = scenario.lines().map(str::trim).collect();
    lines.retain(|line| !line.is_empty() && !line.starts_with('#'));
    let scenario = lines.join(", then ");
    let mut parts = scenario.split('{');
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let time = part
            .split_once('}')
            .map(|(time, rest)| (seconds(time), rest));
        text += &match time {
            Some((Some(seconds), rest)) => format!("{}{rest}", seconds / scale),
            _ => format!("{{{part}"),
        };
    }
    text
}

fn seconds(number: &str) -> Option<f64> {
    let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| number.parse().ok())?
}
