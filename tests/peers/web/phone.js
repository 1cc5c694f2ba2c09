// A phone in a browser, made of JsSIP: it registers, does what the test orders, and tells what happens.
// It says a tone, and hears which tone is the loudest.
'use strict'

const setup = Object.fromEntries(new URLSearchParams(location.search))
const sound = new AudioContext()
let session, previous, ear

const say = (event, more = {}) => fetch('/event', { method: 'POST', body: JSON.stringify({ event, ...more }) })

function mouth() {
  const tone = new OscillatorNode(sound, { frequency: Number(setup.tone) })
  const stream = new MediaStreamAudioDestinationNode(sound)
  tone.connect(new GainNode(sound, { gain: 0.3 })).connect(stream)
  tone.start()
  return stream.stream
}

function listen(stream) {
  // A remote track is silent to Web Audio unless an element holds it too.
  document.getElementById('ear').srcObject = stream
  ear = new AnalyserNode(sound, { fftSize: 8192, smoothingTimeConstant: 0 })
  new MediaStreamAudioSourceNode(sound, { mediaStream: stream }).connect(ear)
}

function loudest() {
  if (!ear) return null
  const bins = new Float32Array(ear.frequencyBinCount)
  ear.getFloatFrequencyData(bins)
  const top = bins.reduce((best, level, bin) => (level > bins[best] ? bin : best), 0)
  return bins[top] > -60 ? Math.round((top * sound.sampleRate) / ear.fftSize) : null
}

function take(next) {
  previous = session
  session = next
  const heard = (connection) =>
    connection.addEventListener('track', ({ track, streams }) => listen(streams[0] ?? new MediaStream([track])))
  if (session.connection) heard(session.connection)
  session.on('peerconnection', ({ peerconnection }) => heard(peerconnection))
  for (const event of ['progress', 'accepted', 'confirmed', 'hold', 'unhold']) {
    session.on(event, ({ originator }) => say(event, { originator }))
  }
  for (const event of ['ended', 'failed']) {
    session.on(event, ({ originator, cause, message }) =>
      say(event, { originator, cause, status: message?.status_code, reason: message?.reason_phrase }))
  }
}

const pcConfig = { iceServers: [] }
const phone = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(setup.server)],
  uri: `sip:${setup.user}@${setup.domain}`,
  password: setup.password,
  session_timers: false,
  register_expires: 120
})
phone.on('registered', () => say('registered'))
phone.on('registrationFailed', ({ cause }) => say('refused', { cause }))
phone.on('newRTCSession', ({ session: next, originator }) => {
  take(next)
  if (originator === 'remote') {
    say('incoming', { from: next.remote_identity.uri.user, name: next.remote_identity.display_name })
  }
})

const done = () => say('done')
const orders = {
  dial: ({ number }) => phone.call(`sip:${number}@${setup.domain}`, { mediaStream: mouth(), pcConfig }),
  answer: () => session.answer({ mediaStream: mouth(), pcConfig }),
  hangup: () => session.terminate(),
  hold: () => session.hold({}, done),
  resume: () => session.unhold({}, done),
  keys: ({ keys, way }) => session.sendDTMF(keys, { transportType: way }),
  restart: () => session.renegotiate({ rtcOfferConstraints: { iceRestart: true } }, done),
  transfer: ({ number }) => session.refer(`sip:${number}@${setup.domain}`),
  // The two calls that it has.
  join: ({ number }) => previous.refer(`sip:${number}@${setup.domain}`, { replaces: session }),
  // A lamp for another phone.
  watch: ({ number }) => {
    const lamp = phone.subscribe(`sip:${number}@${setup.domain}`, 'dialog', 'application/dialog-info+xml', { expires: 300 })
    lamp.on('notify', (isFinal, request, body) => {
      const shown = new DOMParser().parseFromString(body, 'application/xml').querySelector('dialog')
      say('lamp', { state: shown.querySelector('state').textContent, direction: shown.getAttribute('direction') })
    })
    lamp.on('terminated', (code, reason) => say('dark', { code, reason }))
    lamp.subscribe()
  },
  hears: () => say('hears', { hz: loudest() }),
  stop: () => phone.stop()
}

async function obey() {
  for (;;) {
    const answer = await fetch('/next')
    if (answer.status !== 200) continue
    const order = await answer.json()
    try {
      orders[order.order](order)
    } catch (error) {
      say('error', { order: order.order, text: String(error) })
    }
  }
}

phone.start()
obey()
