// The words of the command line by name, and what both ends count.
'use strict';

exports.words = (defaults) => {
  const said = { ...defaults };
  for (let i = 2; i + 1 < process.argv.length; i += 2) {
    said[process.argv[i].replace(/^-+/, '')] = process.argv[i + 1];
  }
  return said;
};

exports.one = (counts, name) => {
  counts[name] = (counts[name] || 0) + 1;
};

// A text as the short_messages that carry it: one, or parts of 67 characters with a header of six octets.
let reference = 0;
exports.parts = (text) => {
  if (text.length <= 70) return [{ message: text }];
  const total = Math.ceil(text.length / 67);
  reference = (reference + 1) & 0xff;
  return Array.from({ length: total }, (_, part) => ({
    udh: Buffer.from([5, 0, 3, reference, total, part + 1]),
    message: text.slice(part * 67, (part + 1) * 67),
  }));
};
