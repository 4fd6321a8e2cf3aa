"""The trainer: what moves the weights, and what is written on the way.

One training, from the command down to a step:

    commands.train
      session.open_session       config, run, buckets, network, objective: everything that a training consists of
      run.run_session            says, restores the last checkpoint, trains, saves, says how it ended
        data.*                   manifest -> buckets -> plan of batches -> windows of clips -> VideoBatch
        loop.Trainer.run         until steps or minutes are over, or a signal asks
          _step                  per player (a network, or an autoencoder and its discriminator):
            optimiser.set_rates    this step's learning rate
            _backward_fitting      in parts that fit into memory:
              objectives.*           batch -> losses per sample: diffusion on latents, or reconstruction
            _clipped, step         gradients of a finite norm move the weights, others are counted as skipped
            averages               checkpoints.ema, once per step
          _between               every so many steps, with the clock stopped: telemetry, validation, preview,
                                 snapshots of the averages, session.save -> checkpoints.*
      export_autoencoder         after an autoencoder: one file that a diffusion model begins with

May import: everything else in models, sets of evaluate, the loader of curate. Imported by: commands.
"""
