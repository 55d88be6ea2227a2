"""The Franka Panda's forward kinematics, as anyone would write it in NumPy.

The Denavit-Hartenberg parameters (Craig's convention; metres, radians) and the joint limits are
those that Franka Emika publishes for the robot.
"""

import numpy as np

#             a        d      alpha
DH = [
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
]
FLANGE = 0.107

LOWER = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
UPPER = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
READY = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])


def link(theta, a, d, alpha):
    """The pose of one link in the frame of the one before it: (4, 4)."""
    c, s = np.cos(theta), np.sin(theta)
    ca, sa = np.cos(alpha), np.sin(alpha)
    return np.array(
        [
            [c, -s, 0.0, a],
            [s * ca, c * ca, -sa, -d * sa],
            [s * sa, c * sa, ca, d * ca],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def forward_kinematics(q):
    """The pose of the flange: joint angles (7,) in radians to (6,): x, y, z in metres, roll, pitch, yaw in radians."""
    pose = np.eye(4)
    for i, (a, d, alpha) in enumerate(DH):
        pose = pose @ link(q[i], a, d, alpha)
    pose = pose @ link(0.0, 0.0, FLANGE, 0.0)
    roll = np.arctan2(pose[2, 1], pose[2, 2])
    pitch = np.arctan2(-pose[2, 0], np.hypot(pose[2, 1], pose[2, 2]))
    yaw = np.arctan2(pose[1, 0], pose[0, 0])
    return np.stack([pose[0, 3], pose[1, 3], pose[2, 3], roll, pitch, yaw])


def random_states(count, seed=0):
    """Joint states (count, 7), uniform within the robot's limits; the first is its ready pose."""
    states = np.random.default_rng(seed).uniform(LOWER, UPPER, (count, 7))
    states[0] = READY
    return states


def finite_differences(q, step=1e-6):
    """The Jacobian (6, 7) by central differences, angles taken the short way round."""
    columns = []
    for i in range(7):
        shift = step * np.eye(7)[i]
        change = forward_kinematics(q + shift) - forward_kinematics(q - shift)
        change[3:] = (change[3:] + np.pi) % (2 * np.pi) - np.pi
        columns.append(change / (2 * step))
    return np.stack(columns, axis=1)
