#!/usr/bin/env python3
"""Checks the stand-in for Slack with Slack's own client. Not part of `cargo test`: it needs the
network once.

    cargo build --bin slack_stand_in
    python3 -m venv target/slack_sdk && target/slack_sdk/bin/pip install slack_sdk
    target/slack_sdk/bin/python tests/slack_client.py target/debug/slack_stand_in
"""

import re
import subprocess
import sys

import slack_sdk
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

CHECKS = 0


def check(what, is_so):
    global CHECKS
    CHECKS += 1
    print("ok " if is_so else "NOT", what)
    if not is_so:
        sys.exit(1)


def refused(what, code, call, **fields):
    try:
        call(**fields)
        check(f"{what}: refused", False)
    except SlackApiError as error:
        check(f"{what}: {code}", error.response["error"] == code)


def main():
    program = subprocess.Popen(
        [sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        lines = [program.stdout.readline() for _ in range(3)]
        found = dict(re.findall(r"(SLACK_\w+)=(\S+)", "".join(lines)))
        url, token = found["SLACK_API_URL"] + "/", found["SLACK_BOT_TOKEN"]
        channel, user = found["SLACK_CHANNEL"], found["SLACK_USERS"]
        client = WebClient(token=token, base_url=url)

        us = client.auth_test()
        check("auth.test", us["ok"] and us["user_id"].startswith("U"))
        for method in ["POST", "GET"]:
            wrong = WebClient(token="xoxb-wrong", base_url=url)
            answer = lambda: wrong.api_call("auth.test", http_verb=method)
            refused(f"a wrong token, {method}", "invalid_auth", answer)

        check("an empty channel", client.conversations_history(channel=channel)["messages"] == [])
        text = 'Grüße & <b> 100% "+" = ?\nanother line'
        first = client.chat_postMessage(channel=channel, text=text)
        check("chat.postMessage", first["channel"] == channel and first["message"]["text"] == text)
        program.stdin.write("typed by a person\n" * 3)
        program.stdin.flush()
        while len(client.conversations_history(channel=channel)["messages"]) < 4:
            pass  # they are on their way
        for number in range(40):
            client.chat_postMessage(channel=channel, text=f"n{number}")
        reply = client.chat_postMessage(channel=channel, text="below", thread_ts=first["ts"])
        check("thread_ts", reply["message"]["thread_ts"] == first["ts"])

        pages = [dict(page.data) for page in client.conversations_history(channel=channel, limit=15)]
        check("history: three pages of 15", [len(page["messages"]) for page in pages] == [15, 15, 14])
        check("history: has_more", [page["has_more"] for page in pages] == [True, True, False])
        seen = [message for page in pages for message in page["messages"]]
        times = [message["ts"] for message in seen]
        check("history: each once, newest first", times == sorted(set(times), reverse=True))
        check("history: no reply among them", "below" not in [it["text"] for it in seen])
        check("history: typed lines", [it["user"] for it in seen].count(user) == 3)
        newer = client.conversations_history(channel=channel, oldest=times[5])["messages"]
        check("history: oldest is not included", [it["ts"] for it in newer] == times[:5])

        thread = client.conversations_replies(channel=channel, ts=first["ts"])["messages"]
        check("replies: parent first", [it["text"] for it in thread] == [text, "below"])
        refused("an unknown thread", "thread_not_found", client.conversations_replies, channel=channel, ts="1.000001")
        refused("an unknown channel", "channel_not_found", client.conversations_history, channel="C0NOWHERE")
        refused("no text", "no_text", client.chat_postMessage, channel=channel, text="")
        refused("another method", "unknown_method", lambda: client.api_call("reactions.add", params={"channel": channel}))
        version = slack_sdk.version.__version__
        print(f"{CHECKS} checks, slack_sdk {version}")
    finally:
        program.stdin.close()
        program.wait(timeout=60)


main()
