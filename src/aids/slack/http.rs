//! aids · HTTP for the stand-in: what a call of the Web API holds, however a client sends it.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Map, Value};

use super::Fields;

/// Answers calls until the connection ends: of a method, with a token and fields, by status, headers
/// and body.
pub fn serve(
    mut stream: &TcpStream,
    answer: impl Fn(&str, &str, Fields) -> (u16, String, String),
) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut lines = reader.by_ref().lines().map_while(Result::ok);
        let Some(start) = lines.next() else {
            return Ok(());
        };
        let headers = lines.take_while(|line| !line.is_empty());
        let headers: HashMap<String, String> = headers
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_lowercase(), value.trim().to_string()))
            })
            .collect();
        let header = |name: &str| headers.get(name).map_or("", String::as_str);
        let mut body = String::new();
        match header("content-length").parse() {
            Ok(length) => drop(reader.by_ref().take(length).read_to_string(&mut body)?),
            Err(_) if header("transfer-encoding") == "chunked" => body = chunks(&mut reader)?,
            Err(_) => {}
        }
        let target = start.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = path.rsplit('/').next().unwrap_or_default();
        let mut fields = form(query);
        match serde_json::from_str::<Map<String, Value>>(&body) {
            Ok(sent) => fields.extend(sent.into_iter().map(|(name, value)| {
                let text = value.as_str().map(str::to_string);
                (name, text.unwrap_or_else(|| value.to_string()))
            })),
            Err(_) => fields.extend(form(&body)),
        }
        let token = header("authorization").trim_start_matches("Bearer ");
        let (status, more, body) = answer(method, token, fields);
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {length}\r\n{more}\r\n{body}"
        );
        stream.write_all(answer.as_bytes())?;
    }
}

/// A body that comes in chunks.
fn chunks(reader: &mut impl BufRead) -> io::Result<String> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        reader.by_ref().take(length).read_to_end(&mut body)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
    }
}

/// The fields of a form or a query.
fn form(text: &str) -> Fields {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let plain = |text: &str| {
        let (mut bytes, mut plain) = (text.bytes(), Vec::new());
        while let Some(byte) = bytes.next() {
            plain.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [bytes.next(), bytes.next()].map(|it| it.unwrap_or(b'0'));
                    let digits = String::from_utf8_lossy(&digits).into_owned();
                    u8::from_str_radix(&digits, 16).unwrap_or(b'?')
                }
                byte => byte,
            });
        }
        String::from_utf8_lossy(&plain).into_owned()
    };
    pairs
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}
