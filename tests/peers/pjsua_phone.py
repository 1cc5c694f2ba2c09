#!/usr/bin/env python3
"""A SIP phone made of pjsua2: registers, dials, and is silent. With voice activity detection it then sends nothing at all.

    pjsua_phone.py --gateway 127.0.0.1:5060 --user 100 --password secret --dial anna --seconds 10

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
    def onCallState(self, _):
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            say("confirmed")
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            say("ended", code=info.lastStatusCode, reason=info.lastReason)


class Account(pj.Account):
    def onRegState(self, parameters):
        say("registered" if parameters.code == 200 else "refused", code=parameters.code)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("gateway", "user", "password", "dial"):
        arguments.add_argument(f"--{name}", required=True)
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
    transport.boundAddress = "127.0.0.1"
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()

    settings = pj.AccountConfig()
    settings.idUri = f"sip:{a.user}@{a.gateway}"
    settings.regConfig.registrarUri = f"sip:{a.gateway}"
    settings.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", a.user, 0, a.password))
    settings.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
    account = Account()
    account.create(settings)

    def run(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            endpoint.libHandleEvents(20)

    run(1)
    call = Call(account)
    call.makeCall(f"sip:{a.dial}@{a.gateway}", pj.CallOpParam(True))
    run(a.seconds)
    if call.isActive():
        call.hangup(pj.CallOpParam())
    run(0.5)
    say("done")
    # A call that is destroyed after its end aborts the library.
    os._exit(0)


main()
