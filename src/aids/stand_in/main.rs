//! aids · The stand-in for Slack as a program of its own: lines that are typed are what somebody
//! writes in its channel; an empty one shows the channel.

use std::io::{self, BufRead, Write};

use meanwhile::aids::slack::{ADA, AGENT, CHANNEL, StandIn, TOKEN};

fn main() -> io::Result<()> {
    let (stand_in, mut out) = (StandIn::start()?, io::stdout());
    writeln!(
        out,
        "This is a stand-in, not Slack. It forgets everything when it ends. For the lesson, in another terminal:\n\
         export SLACK_API_URL={} SLACK_BOT_TOKEN={TOKEN} SLACK_CHANNEL={CHANNEL} SLACK_USERS={ADA}\n\
         Type what ada writes; @agent is a mention. An empty line shows the channel, Ctrl+D ends it.",
        stand_in.url()
    )?;
    for line in io::stdin().lock().lines() {
        match line?.trim() {
            "" => writeln!(out, "{}", stand_in.text())?,
            text => {
                let text = text.replace("@agent", &format!("<@{AGENT}>"));
                stand_in.say(ADA, &text, None);
            }
        }
    }
    Ok(())
}
