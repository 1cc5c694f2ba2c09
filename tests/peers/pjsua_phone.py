#!/usr/bin/env python3
"""A SIP phone made of pjsua2: registers, dials, and is silent. With voice activity detection it then sends nothing at all.

    pjsua_phone.py --gateway 127.0.0.1:5060 --user 100 --password secret --dial anna --seconds 10
    pjsua_phone.py … --transport tls --ca ca.pem --answer --seconds 10

With --redirect it sends calls on to that number. With --mwi it takes no call, and prints how many it has missed. With --update it offers its session anew in mid-call, by UPDATE. With --tone it says one. With --early it is heard before it takes a call, for as long as --seconds says, and stays in it as long again.
With --answer it takes the first call instead of dialling. With --transfer it then sends the other one to that number, with --join it
calls that number as well and connects the two.

Prints one JSON object a line: registered, confirmed, ended with its code.
"""

import argparse
import json
import os
import time

import pjsua2 as pj


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


class Call(pj.Call):
    tone = None

    def onCallMediaState(self, _):
        if self.tone:
            self.tone.startTransmit(self.getAudioMedia(-1))

    def onCallState(self, _):
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            say("confirmed")
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            say("ended", code=info.lastStatusCode, reason=info.lastReason)


class Account(pj.Account):
    call = None
    tone = None
    early = False
    redirect = None
    missing = False

    def onMwiInfo(self, parameters):
        lines = parameters.rdata.wholeMsg.splitlines()
        say("missed", calls=next((line.split(": ")[1] for line in lines if line.startswith("Voice-Message: ")), None))

    def onIncomingCall(self, parameters):
        self.call = Call(self, parameters.callId)
        if self.missing:
            return say("incoming")
        self.call.tone = self.tone
        say("incoming")
        self.answer(302 if self.redirect else 183 if self.early else 200)

    def answer(self, status):
        answer = pj.CallOpParam()
        answer.statusCode = status
        if self.redirect:
            contact = pj.SipHeader()
            contact.hName, contact.hValue = "Contact", f"<{self.redirect}>"
            answer.txOption.headers.append(contact)
        self.call.answer(answer)

    def onRegState(self, parameters):
        say("registered" if parameters.code == 200 else "refused", code=parameters.code)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("gateway", "user", "password"):
        arguments.add_argument(f"--{name}", required=True)
    arguments.add_argument("--dial")
    arguments.add_argument("--answer", action="store_true")
    arguments.add_argument("--update", action="store_true")
    arguments.add_argument("--early", action="store_true")
    arguments.add_argument("--tone", type=int, default=0)
    arguments.add_argument("--redirect")
    arguments.add_argument("--mwi", action="store_true")
    arguments.add_argument("--transfer")
    arguments.add_argument("--join")
    arguments.add_argument("--transport", choices=("udp", "tcp", "tls"), default="udp")
    arguments.add_argument("--ca", default="")
    arguments.add_argument("--timer", type=int, default=0, help="seconds after which a session that nobody refreshes is over")
    arguments.add_argument("--srtp", type=int, default=0, help="0: none, 1: where both can, 2: always")
    arguments.add_argument("--local", default="127.0.0.1")
    arguments.add_argument("--seconds", type=float, default=10)
    a = arguments.parse_args()

    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 1
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.medConfig.noVad = False
    endpoint.libInit(config)
    # No sound card: the null device clocks, and says nothing.
    endpoint.audDevManager().setNullDev()
    transport = pj.TransportConfig()
    transport.boundAddress = a.local
    if a.ca:
        transport.tlsConfig.CaListFile = a.ca
        transport.tlsConfig.verifyServer = True
    is_v6 = ":" in a.local
    kinds = {
        "udp": pj.PJSIP_TRANSPORT_UDP6 if is_v6 else pj.PJSIP_TRANSPORT_UDP,
        "tcp": pj.PJSIP_TRANSPORT_TCP6 if is_v6 else pj.PJSIP_TRANSPORT_TCP,
        "tls": pj.PJSIP_TRANSPORT_TLS6 if is_v6 else pj.PJSIP_TRANSPORT_TLS,
    }
    endpoint.transportCreate(kinds[a.transport], transport)
    over = f";transport={a.transport}"
    endpoint.libStart()

    settings = pj.AccountConfig()
    settings.idUri = f"sip:{a.user}@{a.gateway}"
    settings.regConfig.registrarUri = f"sip:{a.gateway}{over}"
    settings.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", a.user, 0, a.password))
    settings.mediaConfig.transportConfig.boundAddress = a.local
    if a.timer:
        settings.callConfig.timerUse = pj.PJSUA_SIP_TIMER_ALWAYS
        settings.callConfig.timerSessExpiresSec = a.timer
    settings.mediaConfig.srtpUse = a.srtp
    settings.mediaConfig.srtpSecureSignaling = 0
    if is_v6:
        settings.mediaConfig.ipv6Use = pj.PJSUA_IPV6_ENABLED
    settings.mwiConfig.enabled = a.mwi
    account = Account()
    account.missing = a.mwi
    account.early = a.early
    account.redirect = a.redirect and f"sip:{a.redirect}@{a.gateway}"
    if a.tone:
        account.tone = pj.ToneGenerator()
        account.tone.createToneGenerator()
        tone = pj.ToneDesc()
        tone.freq1, tone.freq2, tone.on_msec, tone.off_msec = a.tone, 0, 1000, 0
        tones = pj.ToneDescVector()
        tones.append(tone)
        account.tone.play(tones, True)
    account.create(settings)

    def run(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            endpoint.libHandleEvents(20)

    run(1)
    if a.dial:
        account.call = Call(account)
        account.call.tone = account.tone
        account.call.makeCall(f"sip:{a.dial}@{a.gateway}{over}", pj.CallOpParam(True))
    run(a.seconds)
    call = account.call
    if a.update:
        call.update(pj.CallOpParam(True))
        run(a.seconds)
    if a.early:
        account.answer(200)
        run(a.seconds)
    if a.transfer:
        call.xfer(f"sip:{a.transfer}@{a.gateway}", pj.CallOpParam(True))
        run(a.seconds)
    second = None
    if a.join:
        call.setHold(pj.CallOpParam(True))
        run(0.5)
        second = Call(account)
        second.makeCall(f"sip:{a.join}@{a.gateway}{over}", pj.CallOpParam(True))
        run(1)
        call.xferReplaces(second, pj.CallOpParam(True))
        run(a.seconds)
    for standing in (call, second):
        if standing and standing.isActive():
            standing.hangup(pj.CallOpParam())
    run(0.5)
    say("done")
    # A call that is destroyed after its end aborts the library.
    os._exit(0)


main()
