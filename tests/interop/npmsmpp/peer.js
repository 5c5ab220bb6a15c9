// A sender or a carrier's end of SMPP made of npm's smpp. Arguments and the JSON line: see peers.py.
'use strict';
const { words } = require('./words');

require(words({}).end === 'carrier' ? './carrier' : './sender');
