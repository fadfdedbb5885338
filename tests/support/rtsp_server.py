"""An RTSP camera that shows a video, with sound: `/usr/bin/python3 rtsp_server.py PORT VIDEO USER PASSWORD`.

A script for the system's Python, the only one with GStreamer's bindings; it imports nothing of this project.
"""

import sys

import gi  # type: ignore[import-not-found, unused-ignore]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found, unused-ignore]  # noqa: E402

PIPELINE = """
( filesrc location="{video}" ! decodebin ! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast
key-int-max=15 ! rtph264pay name=pay0 config-interval=-1
audiotestsrc num-buffers=150 ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 )
"""

port, video, user, password = sys.argv[1:]
Gst.init(None)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(PIPELINE.format(video=video))
viewers = GstRtspServer.RTSPToken()
viewers.set_string("media.factory.role", "viewer")
rights = "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
factory.add_role_from_structure(Gst.Structure.from_string(rights)[0])
auth = GstRtspServer.RTSPAuth()
auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), viewers)
server = GstRtspServer.RTSPServer(service=port)
server.set_auth(auth)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
GLib.MainLoop().run()
