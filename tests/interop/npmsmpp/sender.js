// The sender: binds, submits (every third one from a number that is to be refused), waits for
// answers, reports and replies, tests the link and unbinds.
'use strict';
const smpp = require('smpp');
const { words, one, parts } = require('./words');

const WINDOW = 16;
const said = words({ host: '127.0.0.1', version: '34', messages: 30, replies: 0, seconds: 30 });
const [messages, replies] = [Number(said.messages), Number(said.replies)];
const counts = { connected: false, submitted: 0, results: {}, reports: {}, replies: [], active_tests: 0, terminated: false };
const total = (cases) => Object.values(cases).reduce((sum, n) => sum + n, 0);
let sent = 0;
let leaving = false;

const fail = (why) => {
  console.error(why, JSON.stringify(counts));
  process.exit(1);
};
setTimeout(() => finish(), Number(said.seconds) * 1000).unref();

const session = smpp.connect({ host: said.host, port: Number(said.port) }, () => {
  session.bind_transceiver(
    { system_id: said.account, password: said.secret, interface_version: parseInt(said.version, 16) },
    (answer) => {
      if (answer.command_status !== 0) fail(`bind_transceiver_resp ${answer.command_status}`);
      counts.connected = true;
      go();
    },
  );
});
session.on('error', (error) => leaving || fail(error));

session.on('deliver_sm', (pdu) => {
  session.send(pdu.response());
  const text = pdu.short_message.message;
  if ((pdu.esm_class & 0x3c) === 4) one(counts.reports, /stat:(\w+)/.exec(text)[1]);
  else counts.replies.push(text);
  go();
});
session.on('enquire_link', (pdu) => session.send(pdu.response()));

const answered = (answer) => {
  one(counts.results, answer.command_status);
  go();
};

const go = () => {
  while (counts.submitted < messages && sent - total(counts.results) < WINDOW) {
    const number = counts.submitted++;
    for (const short_message of parts(said.text)) {
      sent++;
      session.submit_sm({
        source_addr: number % 3 === 2 ? said['refused-from'] : said.from,
        destination_addr: `1380000${String(number).padStart(4, '0')}`,
        data_coding: 8,
        registered_delivery: 1,
        short_message,
      }, answered);
    }
  }
  const all = counts.submitted === messages && total(counts.results) === sent;
  if (all && !leaving && total(counts.reports) === (counts.results[0] || 0) && counts.replies.length >= replies) leave();
};

const leave = () => {
  leaving = true;
  session.enquire_link({}, () => {
    counts.active_tests++;
    session.unbind({}, () => {
      counts.terminated = true;
      finish();
    });
  });
};

const finish = () => {
  console.log(JSON.stringify(counts));
  process.exit(0);
};
