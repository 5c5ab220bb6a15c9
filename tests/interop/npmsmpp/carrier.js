// The carrier's end: takes one account's submits, each part by itself, refuses, reports, lets subscribers reply, until
// SIGTERM.
'use strict';
const smpp = require('smpp');
const { words, parts } = require('./words');

const said = words({ version: '34', 'refuse-every': 0, 'reply-every': 0, 'reply-text': 'R' });
const counts = {
  logins: 0, submits: 0, reports: 0, reports_answered: 0, replies: 0, replies_answered: 0, closed_terminated: 0,
};
const now = (every) => Number(every) > 0 && counts.submits % Number(every) === 0;

const minute = () => new Date(Date.now() + 8 * 3600e3).toISOString().replace(/\D/g, '').slice(2, 12);

const report = (session, pdu, id) => {
  counts.reports++;
  session.deliver_sm({
    source_addr: pdu.destination_addr,
    destination_addr: pdu.source_addr,
    esm_class: 4,
    receipted_message_id: id,
    message_state: 2,
    short_message: `id:${id} sub:001 dlvrd:001 submit date:${minute()} done date:${minute()} stat:DELIVRD err:000 text:`,
  }, () => counts.reports_answered++);
};

const reply = (session, pdu) => {
  for (const short_message of parts(said['reply-text'])) {
    counts.replies++;
    session.deliver_sm({
      source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, data_coding: 8, short_message,
    }, () => counts.replies_answered++);
  }
};

const server = smpp.createServer((session) => {
  let bound = false;
  session.on('error', () => session.destroy());
  const bind = (pdu) => {
    bound = pdu.system_id === said.account && pdu.password === said.secret;
    if (!bound) {
      session.send(pdu.response({ command_status: smpp.ESME_RBINDFAIL }));
      return;
    }
    counts.logins++;
    session.send(pdu.response({ system_id: 'SMSC', sc_interface_version: parseInt(said.version, 16) }));
  };
  for (const command of ['bind_transceiver', 'bind_transmitter', 'bind_receiver']) session.on(command, bind);
  session.on('submit_sm', (pdu) => {
    if (!bound) return session.send(pdu.response({ command_status: smpp.ESME_RINVBNDSTS }));
    counts.submits++;
    const id = (0xa0000000 + counts.submits).toString(16);
    if (now(said['refuse-every'])) return session.send(pdu.response({ command_status: smpp.ESME_RSUBMITFAIL }));
    session.send(pdu.response({ message_id: id }));
    if (pdu.registered_delivery & 1) report(session, pdu, id);
    if (now(said['reply-every'])) reply(session, pdu);
  });
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => {
    counts.closed_terminated++;
    session.send(pdu.response());
    session.close();
  });
});
server.listen(Number(said.port), '127.0.0.1');

process.on('SIGTERM', () => {
  console.log(JSON.stringify(counts));
  process.exit(0);
});
