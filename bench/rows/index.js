// The rows of the performance budget, one file each. A row has
//
//   number          of the row in the budget
//   size(options)   what it is made of, smaller with isQuick
//   name(size)      one line for people
//   prepare(tree, size)  fills the tree; returns {first, measured, fill}: the step that is measured, and, if it needs them,
//                   the step barmans3 takes before it and what lies in the bucket before that ({prefix, count, sizeBytes} for
//                   barmans3 and for the peers)
//   budget({isTls, latencyMs})  limits that hold in this condition: {kind, limit}, kinds of budget.js
//   leftOut         peers that are not measured here, by name with the reason; optional
//
// and a step has
//
//   barmans3        arguments of our command
//   assertDone(run, server)  throws unless our command did exactly this
//   leastSentBytes, leastReadBytes  whoever does our work with fewer has not done it
//   directory, prefix, objects, bytes  what a peer copies, where to, and what must have arrived then
//   totalBytes      size of all the data the step is about
//   isNothingNew    true when nobody has anything to send

import {baseLarge} from './base-large.js'
import {baseLinked} from './base-linked.js'
import {baseSmall} from './base-small.js'
import {walNothingNew} from './wal-nothing-new.js'
import {walSegments} from './wal-segments.js'

export const ROWS = [baseSmall, walSegments, baseLarge, walNothingNew, baseLinked]
export const DEFAULT_ROWS = [1, 3, 5]
