//! Sends the lines of standard input, a hundred together: `send_lines client.type=thrift hosts=h
//! hosts.h=localhost:4353`. The arguments are properties of Flume's clients.

use std::error::Error;
use std::io::BufRead;

use splashdam_client::{Client, Event, Settings};

const TOGETHER: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let properties = arguments.iter().filter_map(|argument| argument.split_once('='));
    let client = Client::new(Settings::from_properties(properties)?)?;
    let mut lines = std::io::stdin().lock().lines();
    loop {
        let batch: Result<Vec<Event>, _> =
            lines.by_ref().take(TOGETHER).map(|line| line.map(Event::new)).collect();
        let batch = batch?;
        if batch.is_empty() {
            return Ok(());
        }
        // A failure ends the program. One that must not lose a line would keep the batch and try it
        // again later.
        client.append_batch(&batch).await?;
    }
}
