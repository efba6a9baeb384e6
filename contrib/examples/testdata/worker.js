// Takes jobs, which are files, out of spool, and writes into jobs.log what happens to it.
const fs = require('fs')
const { spawn } = require('child_process')
const say = (...words) => fs.appendFileSync('jobs.log', words.join(' ') + '\n')

say('start', process.pid, `slot=${process.env.NODE_APP_INSTANCE}`, `queue=${process.env.QUEUE}`,
  `args=${process.argv.slice(2)}`, `node=${process.env.NODE_ENV}`, `uid=${process.getuid()}`)
console.log('said by', process.pid)
console.error('said in trouble by', process.pid)
if (fs.existsSync('poison')) process.exit(1)

let leaving = false
let deaf = false
let busy = false
for (const signal of ['SIGINT', 'SIGQUIT', 'SIGTERM']) {
  process.on(signal, () => {
    if (deaf) return
    say('signal', signal.slice(3), process.pid)
    leaving = true
  })
}

function take (file) {
  try {
    fs.renameSync('spool/' + file, 'taken/' + file)
  } catch {
    return false // another was faster
  }
  const [what, arg] = fs.readFileSync('taken/' + file, 'utf8').trim().split(' ')
  say('begin', file, process.pid)
  busy = true
  switch (what) {
    case 'work':
      setTimeout(() => {
        say('end', file, process.pid)
        busy = false
      }, arg * 1000)
      break
    case 'exit':
      process.exit(Number(arg))
      break
    case 'deaf':
      deaf = true
      say('child', spawn('sh', ['-c', "trap 'echo child signal INT >>jobs.log' INT; while :; do sleep 0.2; done"]).pid)
  }
  return true
}

setInterval(() => {
  if (busy) return
  if (leaving) {
    say('left', process.pid)
    process.exit(0)
  }
  fs.readdirSync('spool').some(take)
}, 200)
